//! The command line: what nats-server's flags ask for (CFG-300 to CFG-309), and natsd's own.
//!
//! Pure: words in, a [`Command`] out. Flags that stand beside a file become its overrides, see [`Flags`].

mod flags;
mod go_flags;
mod plugin_flags;
pub mod signal;
#[cfg(test)]
mod tests;
mod usage;

pub use flags::Flags;
pub use usage::{VERSION, help_tls, usage};

use go_flags::FlagError;
use signal::Request;

/// What the process is to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    Run(Box<Flags>),
    /// `-t`: check the file that `flags.config` names, and exit.
    TestConfig(Box<Flags>),
    /// `--signal`
    Signal(Request),
    Version,
    Help,
    HelpTls,
    /// `plugins`: list them without starting the server.
    Plugins(Box<Flags>),
    Fail(Failure),
}

/// A message for standard error and the exit code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub message: String,
    /// The usage follows the message, on standard output.
    pub with_usage: bool,
    pub code: i32,
}

/// Reads the words after the program's name; `exe` is its file name, which begins its messages.
pub fn parse(exe: &str, args: &[String]) -> Command {
    let mut flags = Flags::default();
    let rest = match take(&mut flags, args) {
        Ok(rest) => rest,
        Err(command) => return command,
    };
    if flags.ask.version {
        return Command::Version;
    }
    if flags.ask.help {
        return Command::Help;
    }
    if flags.ask.help_tls {
        return Command::HelpTls;
    }
    if let Some((word, after)) = rest.split_first() {
        match word.to_ascii_lowercase().as_str() {
            "version" => return Command::Version,
            "help" => return Command::Help,
            "plugins" => match take(&mut flags, after) {
                Ok([]) => return Command::Plugins(Box::new(flags)),
                Ok([word, ..]) => return fail(exe, &format!("plugins takes no argument {word:?}")),
                Err(command) => return command,
            },
            _ => return fail(exe, &format!("unrecognized command: {word:?}")),
        }
    }
    if let Some(text) = &flags.ask.signal {
        return match Request::parse(text) {
            Ok(request) => Command::Signal(request),
            Err(error) => fail(exe, &error.to_string()),
        };
    }
    if let Err(text) = flags.check() {
        return fail(exe, &text);
    }
    if flags.ask.test {
        return match flags.config {
            Some(_) => Command::TestConfig(Box::new(flags)),
            None => fail(exe, "must specify [-c, --config] option to check configuration file syntax"),
        };
    }
    Command::Run(Box::new(flags))
}

fn take<'a>(flags: &mut Flags, args: &'a [String]) -> Result<&'a [String], Command> {
    match go_flags::split(args, flags::find) {
        Ok((given, rest)) => {
            for flag in given {
                flags.take(flag);
            }
            Ok(rest)
        }
        Err(FlagError::Help) => Err(Command::Help),
        // The reference's usage function exits with 0 (CFG-304).
        Err(FlagError::Bad(message)) => Err(Command::Fail(Failure { message, with_usage: true, code: 0 })),
    }
}

fn fail(exe: &str, text: &str) -> Command {
    Command::Fail(Failure { message: format!("{exe}: {text}"), with_usage: false, code: 1 })
}
