//! Servers that are encrypted, and certificates.

use super::carrier::Carrier;
use super::keys::{Certificates, Key};
use super::server::{NEWEST, OLDEST, Server, needs_servers, permissions, users};
use crate::support::skip::needs;

fn tls(certificates: &Certificates, more: &str) -> String {
    let path = |name: &str| certificates.path(name).display().to_string();
    let (cert, key, ca) = (path("server.pem"), path("server.key"), path("ca.pem"));
    format!("tls {{ cert_file: \"{cert}\", key_file: \"{key}\", ca_file: \"{ca}\", {more} }}\n")
}

#[test]
fn encrypted_server_is_known_by_its_authority_and_no_other_is_taken() {
    needs!("openssl");
    needs_servers!(NEWEST, OLDEST);
    let (certificates, others, key) = (Certificates::new(), Certificates::new(), Key::new());
    let (ca, other_ca, nkey) = (certificates.path("ca.pem"), others.path("ca.pem"), key.file());
    let [ca, other_ca, nkey] = [&ca, &other_ca, &nkey].map(|path| path.to_str().unwrap());
    for version in [NEWEST, OLDEST] {
        let machines = users(&[("laptop", &key)]);
        let server = Server::of_version(version, &format!("{}{machines}", tls(&certificates, "")));
        let url = server.url().replace("nats://", "tls://");
        Carrier::start(&url, "laptop", &["--nkey", nkey, "--tls-ca", ca]).state("up");
        let down = Carrier::start(&url, "laptop", &["--nkey", nkey, "--tls-ca", other_ca]).state("down");
        assert!(down["why"].as_str().unwrap().contains("certificate"), "{down}");
        // One that speaks in the clear is not spoken to where an authority was named, whatever its address says.
        let plain = Server::of_version(version, &machines);
        for url in [plain.url(), plain.url().replace("nats://", "tls://")] {
            Carrier::start(&url, "laptop", &["--nkey", nkey, "--tls-ca", ca]).state("down");
        }
    }
}

#[test]
fn machine_is_known_by_its_certificate() {
    needs!("openssl");
    needs_servers!(NEWEST);
    let certificates = Certificates::new();
    let users = format!("authorization {{ users: [ {{ user: \"CN=laptop\", {} }} ] }}", permissions("laptop"));
    let server = Server::new(&format!("{}{users}", tls(&certificates, "verify_and_map: true")));
    let path = |name: &str| certificates.path(name).to_str().unwrap().to_owned();
    let (ca, cert, key) = (path("ca.pem"), path("laptop.pem"), path("laptop.key"));
    let own = ["--tls-ca", &ca, "--tls-cert", &cert, "--tls-key", &key];
    Carrier::start(&server.url(), "laptop", &own).state("up");
    let down = Carrier::start(&server.url(), "laptop", &["--tls-ca", &ca]).state("down");
    assert!(down["why"].as_str().unwrap().contains("ertificate"), "{down}");
}
