//! `bootstrap`: readies the host and starts the controller. What fails leaves nothing behind, unless asked to.

use std::fs;

use crate::api::{Client, DestroyEnvironment, EnvironmentSettings, LONGEST_INSTANCE_NAME, Wait};
use crate::cli::account;
use crate::cli::environments::Home;
use crate::cli::error::{DONE, Failure, Outcome};
use crate::cli::progress::{self, WaitOption};
use crate::cli::session::{Session, block_on};

/// Ready this host and start the controller of an environment
///
/// Checks the host first (see `encanto doctor`) and changes nothing if it lacks what the environment needs. Run it
/// once as root or by sudo; afterwards you need neither.
#[derive(Debug, clap::Args)]
pub struct Bootstrap {
    #[command(flatten)]
    wait: WaitOption,
    /// Leave what was made if it fails, to look at it
    #[arg(long)]
    keep_broken: bool,
}

impl Bootstrap {
    pub fn run(self, session: &Session<'_>) -> Outcome {
        let settings = session.settings()?;
        names_fit(&settings)?;
        not_yet(&settings)?;
        account::require_root(&settings, "bootstrapping it", &["bootstrap", "-e", settings.name.as_str()])?;
        ready_host(session, &settings)?;
        {
            let home = Home::find();
            let _alone = home.lock()?;
            not_yet(&settings)?;
            home.make_folder(&settings)?;
            if let Err(error) = session.host.spawn_controller(&settings) {
                return Err(self.clean_up(session, &settings, Failure::host(&error)));
            }
        }
        session.output.note(&format!("Bootstrapped environment \"{}\"", settings.name));
        let Some(timeout) = self.wait.timeout() else { return Ok(DONE) };
        let wait = Wait { targets: vec!["0".to_owned()], condition: None, timeout };
        block_on(async {
            let client = Client::connect(&settings).await?.for_command("bootstrap");
            progress::follow(&session.output, &client, wait).await
        })
    }

    /// Takes down what a controller that did not come up may have made.
    fn clean_up(&self, session: &Session<'_>, settings: &EnvironmentSettings, failure: Failure) -> Failure {
        if self.keep_broken {
            return failure.hint(format!("what was made is kept: see {}", settings.folder.display()));
        }
        let alive = block_on(async {
            Client::connect(settings).await?.for_command("bootstrap").call(&DestroyEnvironment {}).await?;
            Ok(())
        });
        if alive.is_err()
            && let Err(error) = session.host.teardown(settings)
        {
            return failure.hint(format!("not everything could be taken down: {error:#}"));
        }
        let _ = fs::remove_dir_all(&settings.folder);
        failure.hint("encanto doctor").hint("--keep-broken leaves logs and what else was made")
    }
}

/// Later it would be too late: an environment keeps its name.
fn names_fit(settings: &EnvironmentSettings) -> Result<(), Failure> {
    let name = &settings.name;
    let longest = settings.longest_name();
    let room = (LONGEST_INSTANCE_NAME + name.as_str().len()).saturating_sub(longest.len());
    if longest.len() <= LONGEST_INSTANCE_NAME {
        return Ok(());
    }
    let problem = format!(
        "environment name \"{name}\" is too long: machines get names like \"{longest}\", of at most \
         {LONGEST_INSTANCE_NAME} characters"
    );
    let file = Home::find().environments_file();
    Err(Failure::failed(problem).hint(format!("choose a name of at most {room} characters in \"{}\"", file.display())))
}

fn not_yet(settings: &EnvironmentSettings) -> Result<(), Failure> {
    let name = &settings.name;
    let already = || Failure::failed(format!("environment \"{name}\" is already bootstrapped"));
    match block_on(async { Ok(Client::connect(settings).await) })? {
        Err(crate::api::ClientError::NotBootstrapped { .. }) => Ok(()),
        Err(crate::api::ClientError::NotRunning { .. }) => {
            let again = format!("to begin anew: encanto destroy-environment {name}");
            Err(already().hint(format!("encanto controller start -e {name}")).hint(again))
        }
        _ => Err(already().hint("encanto status").hint(format!("encanto destroy-environment {name}"))),
    }
}

/// All that stands in the way is told at once; then nothing is changed.
pub(super) fn ready_host(session: &Session<'_>, settings: &EnvironmentSettings) -> Result<(), Failure> {
    let findings = session.host.check(settings);
    let blocking: Vec<_> = findings.iter().filter(|finding| finding.blocking).collect();
    if !blocking.is_empty() {
        let failure = Failure::failed(format!("this host is not ready for environment \"{}\"", settings.name));
        let failure = failure.details(blocking.iter().map(|finding| finding.problem.clone()));
        return Err(blocking.iter().filter_map(|finding| finding.fix.clone()).fold(failure, Failure::hint));
    }
    if findings.is_empty() {
        return Ok(());
    }
    for line in session.host.mend(settings).map_err(|error| Failure::host(&error))? {
        session.output.note(&line);
    }
    Ok(())
}
