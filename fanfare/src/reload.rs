//! What is read anew while the server runs: certificates, API keys, token keys.
//!
//! It happens when one of their files or the configuration file changes, and on SIGHUP. Everything else in the
//! configuration counts from the next start.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use fanfare_cluster::tls::TlsConfig;
use fanfare_control_plane::ControlPlane;
use fanfare_data_plane::DataPlane;
use tokio::signal::unix::Signal;
use toml::Table;
use tracing::{error, info, warn};

use crate::cli::ServeArguments;
use crate::config::{self, Config};

/// How often files are looked at.
const INTERVAL: Duration = Duration::from_secs(2);

/// The keys that count while the server runs.
const RELOADED: [&str; 11] = [
    "api.keys",
    "api.tls",
    "client.tls",
    "client.token.audience",
    "client.token.ecdsa_public_key",
    "client.token.eddsa_public_key",
    "client.token.hmac_secret_key",
    "client.token.issuer",
    "client.token.keys",
    "client.token.leeway",
    "client.token.rsa_public_key",
];

/// When the files have changed last, as far as they are there.
type Versions = BTreeMap<PathBuf, Option<(SystemTime, u64)>>;

/// Reads anew what has changed. Runs until it is dropped.
pub(crate) async fn keep(
    source: &ServeArguments,
    (control, data): (&ControlPlane, &DataPlane),
    mut config: Config,
    mut hangup: Signal,
) {
    let started_with = what_stays(&config);
    let mut versions = versions(source, &config);
    let mut ticker = tokio::time::interval(INTERVAL);
    loop {
        let asked = tokio::select! {
            _ = hangup.recv() => true,
            _ = ticker.tick() => false,
        };
        let now = self::versions(source, &config);
        if !asked && now == versions {
            continue;
        }
        versions = now;
        match reload(source, control, data) {
            Ok(new) => {
                info!("certificates and keys have been read anew");
                if what_stays(&new) != started_with {
                    warn!(
                        "other keys of the configuration have changed, too: they count from the next start"
                    );
                }
                config = new;
            }
            Err(why) => error!(why, "what has changed cannot be used: all stays as it was"),
        }
    }
}

fn reload(source: &ServeArguments, control: &ControlPlane, data: &DataPlane) -> Result<Config, String> {
    let config = config::load(source).map_err(|failure| failure.to_string())?;
    data.reload(&config.client).map_err(|error| error.to_string())?;
    control.reload(&config.api).map_err(|error| error.to_string())?;
    Ok(config)
}

fn versions(source: &ServeArguments, config: &Config) -> Versions {
    let tls = |tls: &TlsConfig| {
        let certificates =
            tls.certificates.iter().flat_map(|one| [one.certificate_file.clone(), one.key_file.clone()]);
        certificates.chain([tls.client_ca_file.clone()]).collect::<Vec<_>>()
    };
    let token_keys = config.client.token.keys.iter();
    let token_keys = token_keys.flat_map(|key| [key.secret_file.clone(), key.public_key_file.clone()]);
    let api_keys = config.api.keys.iter().map(|key| key.key_file.clone());
    let files = source.config.iter().cloned().chain(token_keys).chain(api_keys);
    let files = files.chain(tls(&config.client.tls)).chain(tls(&config.api.tls));
    let version = |file: PathBuf| {
        let changed =
            std::fs::metadata(&file).ok().and_then(|data| Some((data.modified().ok()?, data.len())));
        (file, changed)
    };
    files.filter(|file| !file.as_os_str().is_empty()).map(version).collect()
}

/// The configuration without what is read anew.
fn what_stays(config: &Config) -> Option<Table> {
    let mut table = Table::try_from(config).ok()?;
    for path in RELOADED {
        let (section, key) = path.rsplit_once('.')?;
        let section =
            section.split('.').try_fold(&mut table, |table, name| table.get_mut(name)?.as_table_mut());
        section?.remove(key);
    }
    Some(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_anew_and_the_rest_is_not() {
        let mut config = Config::default();
        let before = what_stays(&config);
        assert!(before.is_some());
        config.client.token.hmac_secret_key = "another".to_owned();
        config.api.keys.push(fanfare_control_plane::ApiKeyConfig::default());
        assert_eq!(what_stays(&config), before);
        config.client.token.jwks_public_endpoint = "https://other".to_owned();
        assert_ne!(what_stays(&config), before, "it is read by a task that has started with it");
    }
}
