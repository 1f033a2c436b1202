//! Keys and JWTs of NATS users, made with openssl. Their form: <https://github.com/nats-io/nkeys>, and nats-io/jwt, version 2.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::{NamedTempFile, TempDir};

const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const BASE64_URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// What a key is for: the first byte of its public form.
#[derive(Clone, Copy)]
pub enum Role {
    Account = 0,
    Operator = 14 << 3,
    User = 20 << 3,
}

/// An Ed25519 key.
pub struct Key {
    directory: TempDir,
    role: Role,
    seed: Vec<u8>,
    public: Vec<u8>,
}

impl Key {
    /// Makes a user's key.
    pub fn new() -> Self {
        Self::for_role(Role::User)
    }

    /// Makes a key.
    pub fn for_role(role: Role) -> Self {
        let directory = TempDir::new().unwrap();
        let pem = directory.path().join("key.pem");
        openssl(&["genpkey", "-algorithm", "ed25519", "-out", pem.to_str().unwrap()], b"");
        let last = |der: Vec<u8>| der[der.len() - 32..].to_vec();
        let seed = last(openssl(&["pkey", "-in", pem.to_str().unwrap(), "-outform", "DER"], b""));
        let public = last(openssl(&["pkey", "-in", pem.to_str().unwrap(), "-pubout", "-outform", "DER"], b""));
        Self { directory, role, seed, public }
    }

    /// Returns the public form, such as `UA…`.
    pub fn public(&self) -> String {
        armoured([&[self.role as u8], self.public.as_slice()].concat())
    }

    /// Returns the secret form, such as `SUA…`.
    pub fn seed(&self) -> String {
        let (role, seed) = (self.role as u8, 18 << 3);
        armoured([&[seed | role >> 5, (role & 31) << 3], self.seed.as_slice()].concat())
    }

    /// Returns a file with the secret form.
    pub fn file(&self) -> PathBuf {
        self.written("user.nk", &self.seed())
    }

    /// Returns a file of credentials: a JWT for this user, and its key.
    pub fn creds(&self, jwt: &str) -> PathBuf {
        let part = |what: &str, text: &str| format!("-----BEGIN {what}-----\n{text}\n------END {what}------\n\n");
        self.written("user.creds", &(part("NATS USER JWT", jwt) + &part("USER NKEY SEED", &self.seed())))
    }

    /// Returns a JWT that this key signs: who is whose, and what it may do.
    pub fn jwt(&self, subject: &str, name: &str, nats: Value) -> String {
        let header = json!({"typ": "JWT", "alg": "ed25519-nkey"});
        let claims = json!({"jti": "x", "iat": 1, "iss": self.public(), "sub": subject, "name": name, "nats": nats});
        let part = |value: &Value| encoded(value.to_string().as_bytes(), BASE64_URL, 6);
        let signed = format!("{}.{}", part(&header), part(&claims));
        format!("{signed}.{}", encoded(&self.sign(signed.as_bytes()), BASE64_URL, 6))
    }

    fn sign(&self, text: &[u8]) -> Vec<u8> {
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(text).unwrap();
        let (pem, text) = (self.directory.path().join("key.pem"), file.path());
        openssl(&["pkeyutl", "-sign", "-rawin", "-inkey", pem.to_str().unwrap(), "-in", text.to_str().unwrap()], b"")
    }

    fn written(&self, name: &str, text: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }
}

/// A server's certificate and a client's, of an authority of their own.
pub struct Certificates(TempDir);

impl Certificates {
    /// Makes them.
    pub fn new() -> Self {
        let made = Self(TempDir::new().unwrap());
        let in_place = |name: &str| made.path(name).to_str().unwrap().to_owned();
        let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"];
        let (ca, ca_key) = (in_place("ca.pem"), in_place("ca.key"));
        let own = ["req", "-x509", "-subj", "/CN=authority", "-out", &ca, "-keyout", &ca_key];
        openssl(&[&own[..], &key].concat(), b"");
        for (name, kind) in [("server", "serverAuth"), ("laptop", "clientAuth")] {
            let (subject, out, out_key) =
                (format!("/CN={name}"), in_place(&format!("{name}.pem")), in_place(&format!("{name}.key")));
            let extensions =
                ["subjectAltName=IP:127.0.0.1", &format!("extendedKeyUsage={kind}"), "basicConstraints=CA:FALSE"];
            let extensions: Vec<&str> = extensions.iter().flat_map(|extension| ["-addext", extension]).collect();
            let signed =
                ["req", "-x509", "-CA", &ca, "-CAkey", &ca_key, "-subj", &subject, "-out", &out, "-keyout", &out_key];
            openssl(&[&signed[..], &key, &extensions].concat(), b"");
        }
        made
    }

    /// Returns where one of them is: `ca`, `server` or `laptop` with `.pem` or `.key`.
    pub fn path(&self, name: &str) -> PathBuf {
        Path::join(self.0.path(), name)
    }
}

fn openssl(arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut command = Command::new("openssl");
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Returns bytes with their checksum as letters.
fn armoured(mut bytes: Vec<u8>) -> String {
    let sum = bytes.iter().fold(0_u16, |sum, byte| {
        (0..8).fold(sum ^ u16::from(*byte) << 8, |sum, _| if sum & 0x8000 == 0 { sum << 1 } else { sum << 1 ^ 0x1021 })
    });
    bytes.extend(sum.to_le_bytes());
    encoded(&bytes, BASE32, 5)
}

/// Returns bytes as letters of so many bits each, without padding.
fn encoded(bytes: &[u8], alphabet: &[u8], width: u32) -> String {
    let (mut text, mut held, mut n) = (String::new(), 0_u32, 0);
    for byte in bytes {
        (held, n) = (held << 8 | u32::from(*byte), n + 8);
        while n >= width {
            n -= width;
            text.push(char::from(alphabet[(held >> n) as usize]));
            held &= (1 << n) - 1;
        }
    }
    if n > 0 {
        text.push(char::from(alphabet[(held << (width - n)) as usize]));
    }
    text
}
