//! The controller as a systemd service, where systemd runs: it comes back after a reboot by itself.

use std::path::{Path, PathBuf};

use super::{ProviderError, command};

const UNITS: &str = "/etc/systemd/system";

/// One environment's controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    pub user: String,
    pub environment: String,
    pub program: PathBuf,
    /// `ENCANTO_HOME` of the user.
    pub home: PathBuf,
    pub uid: u32,
    pub gid: u32,
}

/// Whether systemd is this host's PID 1.
pub fn runs() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

fn unit_name(user: &str, environment: &str) -> String {
    format!("encanto-{user}-{environment}.service")
}

/// The unit file. Machines are not the controller's: they outlive it (`KillMode=process`).
fn unit_text(service: &Service) -> String {
    let Service { user, environment, program, home, uid, gid, .. } = service;
    format!(
        "[Unit]\nDescription=Encanto controller of environment {environment} of {user}\nAfter=network-online.target\n\
         Wants=network-online.target\n\n[Service]\nType=notify\nExecStart={} -e {environment} controller run\n\
         Environment=ENCANTO_HOME={} SUDO_USER={user} SUDO_UID={uid} SUDO_GID={gid}\nKillMode=process\n\
         Restart=on-failure\nDelegate=yes\n\n[Install]\nWantedBy=multi-user.target\n",
        program.display(),
        home.display(),
    )
}

/// Writes the service, and starts it now and at every boot. Returns when it takes commands.
///
/// # Errors
/// systemd's own words.
pub fn start_service(service: &Service) -> Result<(), ProviderError> {
    let name = unit_name(&service.user, &service.environment);
    command::replace_file(&Path::new(UNITS).join(&name), unit_text(service).as_bytes())?;
    command::run_blocking(&["systemctl", "daemon-reload"])?;
    command::run_blocking(&["systemctl", "enable", "--quiet", &name])?;
    // Returns when the controller says that it is ready (Type=notify), or with systemd's words.
    command::run_blocking(&["systemctl", "restart", &name])?;
    Ok(())
}

/// Tells systemd, if it started this process, that commands are taken from now on.
pub fn notify_ready() {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let sent = std::os::unix::net::UnixDatagram::unbound().and_then(|own| own.send_to(b"READY=1", &socket));
    if let Err(error) = sent {
        tracing::warn!("systemd could not be told that the controller is ready: {error}");
    }
}

/// Removes the service. Nothing if there is none.
pub fn forget_service(user: &str, environment: &str) {
    let name = unit_name(user, environment);
    let path = Path::new(UNITS).join(&name);
    if !path.exists() {
        return;
    }
    // The file is what counts: without it nothing is started at the next boot.
    let _ = command::run_blocking(&["systemctl", "disable", "--quiet", &name]);
    if let Err(error) = std::fs::remove_file(&path) {
        tracing::warn!("{} cannot be removed: {error}", path.display());
    }
    let _ = command::run_blocking(&["systemctl", "daemon-reload"]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_runs_for_the_user_who_bootstrapped() {
        let service = Service {
            user: "ana".into(),
            environment: "local".into(),
            program: "/usr/bin/encanto".into(),
            home: "/home/ana/.encanto".into(),
            uid: 1000,
            gid: 1000,
        };
        let text = unit_text(&service);
        assert!(text.contains("ExecStart=/usr/bin/encanto -e local controller run\n"), "{text}");
        assert!(text.contains("ENCANTO_HOME=/home/ana/.encanto SUDO_USER=ana SUDO_UID=1000 SUDO_GID=1000"), "{text}");
        assert!(text.contains("KillMode=process"), "{text}");
        assert_eq!(unit_name(&service.user, &service.environment), "encanto-ana-local.service");
    }
}
