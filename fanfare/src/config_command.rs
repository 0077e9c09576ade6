//! `fanfare config check` and `fanfare config show`.

use toml::{Table, Value};

use crate::cli::{ConfigArguments, ConfigCommand, Output};
use crate::config::{self, Config};
use crate::exit::Failure;

/// Keys whose values are never printed.
const SECRETS: [&str; 4] = ["hmac_secret_key", "secret", "key", "password"];

pub(crate) fn run(arguments: &ConfigArguments) -> Result<(), Failure> {
    match &arguments.command {
        ConfigCommand::Check(check) => {
            config::load(&check.source)?;
            println!("the configuration is good");
            Ok(())
        }
        ConfigCommand::Show(show) => {
            let config = if show.defaults { Config::default() } else { config::load(&show.source)? };
            let mut table = Table::try_from(&config).map_err(|error| Failure::Failed(error.to_string()))?;
            hide_secrets(&mut table);
            match show.output {
                Output::Table => print!("{table}"),
                Output::Json => {
                    let json = serde_json::to_string_pretty(&table);
                    println!("{}", json.map_err(|error| Failure::Failed(error.to_string()))?);
                }
            }
            Ok(())
        }
    }
}

fn hide_secrets(table: &mut Table) {
    for (key, value) in table {
        match value {
            Value::Table(inner) => hide_secrets(inner),
            Value::Array(items) => items.iter_mut().filter_map(Value::as_table_mut).for_each(hide_secrets),
            Value::String(text) if SECRETS.contains(&key.as_str()) && !text.is_empty() => {
                *text = "(hidden)".to_owned();
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_printed() {
        let mut table: Table =
            "[client.token]\nhmac_secret_key = \"s3cret\"\n[[api.keys]]\nkey = \"s3cret\"".parse().unwrap();
        hide_secrets(&mut table);
        assert!(!table.to_string().contains("s3cret"));
    }
}
