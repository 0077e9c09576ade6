//! The configuration: defaults, then the dev preset, a file, the environment, and the command line, each
//! stronger than the one before.

mod layers;
mod schema;

use std::path::Path;

use toml::Table;

use crate::cli::ServeArguments;
use crate::exit::Failure;

pub(crate) use schema::{Config, LogFormat};

/// What `--dev` changes.
const DEV_PRESET: &str = include_str!("config/dev.toml");
/// The dev preset's token secret. It is public, so it is refused everywhere else.
pub(crate) const DEV_SECRET: &str = "fanfare-dev";

/// Reads everything that the arguments and the environment name.
pub(crate) fn load(arguments: &ServeArguments) -> Result<Config, Failure> {
    let mut table = Table::new();
    if arguments.dev {
        let preset =
            DEV_PRESET.parse().map_err(|error| Failure::Failed(format!("the dev preset: {error}")))?;
        layers::overlay(&mut table, preset);
    }
    if let Some(path) = &arguments.config {
        layers::overlay(&mut table, read_file(path)?);
    }
    for (key, value) in layers::environment(readable_environment()) {
        layers::set(&mut table, &key, &value).map_err(Failure::Usage)?;
    }
    for setting in &arguments.set {
        let (key, value) = setting
            .split_once('=')
            .ok_or_else(|| Failure::Usage(format!("--set {setting}: write KEY=VALUE")))?;
        layers::set(&mut table, key, value).map_err(Failure::Usage)?;
    }
    parse(table, arguments.dev)
}

/// The variables that are text. What is not cannot be meant for us.
fn readable_environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

fn read_file(path: &Path) -> Result<Table, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::Usage(format!("cannot read {}: {error}", path.display())))?;
    text.parse().map_err(|error| Failure::Usage(format!("{} is not TOML: {error}", path.display())))
}

/// Reads one table that holds all layers.
pub(crate) fn parse(table: Table, dev: bool) -> Result<Config, Failure> {
    layers::check_keys(&table, &schema::defaults()).map_err(Failure::Usage)?;
    let config: Config = serde_path_to_error::deserialize(table).map_err(|error| {
        let path = error.path().to_string();
        Failure::Usage(format!("{path}: {}", error.into_inner().message()))
    })?;
    config.validate(dev).map_err(Failure::Usage)?;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load_text(text: &str, dev: bool) -> Result<Config, String> {
        parse(text.parse().unwrap(), dev).map_err(|failure| match failure {
            Failure::Usage(message) | Failure::Failed(message) => message,
            Failure::Refused { message, .. } => message,
        })
    }

    #[test]
    fn the_dev_preset_is_good_and_only_for_dev() {
        assert!(load_text(DEV_PRESET, true).is_ok());
        let error = load_text(DEV_PRESET, false).unwrap_err();
        assert!(error.contains("client.token.hmac_secret_key"), "{error}");
    }

    #[test]
    fn dev_mode_stays_on_this_machine() {
        let error = load_text("[client]\naddress = \"0.0.0.0:8000\"", true).unwrap_err();
        assert!(error.contains("client.address") && error.contains("loopback"), "{error}");
    }

    #[test]
    fn an_unknown_key_is_an_error_that_names_the_nearest_known_one() {
        let error = load_text("[client]\nping_intervall = \"25s\"", false).unwrap_err();
        assert_eq!(error, "unknown key client.ping_intervall; did you mean client.ping_interval?");
    }

    #[test]
    fn a_value_that_does_not_fit_is_an_error_that_names_it() {
        let error = load_text("[client]\nping_interval = \"soon\"", false).unwrap_err();
        assert!(error.contains("soon") && error.contains("duration"), "{error}");
        let error = load_text("[client.token]\nhmac_secret_key = 12345", false).unwrap_err();
        assert!(error.starts_with("client.token.hmac_secret_key:"), "{error}");
        let error = load_text("[client]\nping_interval = \"5s\"\npong_timeout = \"5s\"", false).unwrap_err();
        assert!(error.contains("client.pong_timeout"), "{error}");
    }
}
