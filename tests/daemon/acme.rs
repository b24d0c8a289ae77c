//! A certificate by ACME, from Debian's `pebble`: Let's Encrypt's own small authority for tests.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::authority::Authority;
use crate::clients::installed;
use crate::house::{House, soon};
use crate::mail::free_port;

const NAME: &str = "voicemail.example";

/// An authority whose own HTTPS is signed by another, and who believes that every name is here.
struct Pebble {
    children: Vec<Child>,
    /// Of the directory, and of what tells the authority's own certificate.
    port: u16,
    management: u16,
}

impl Pebble {
    /// It asks on this port whether a name is ours.
    fn start(authority: &Authority, dir: &Path, asks: u16) -> Self {
        let [port, management, dns] = [free_port(), free_port(), free_port()];
        let identity = authority.sign("pebble", &["localhost"]);
        let config = serde_json::json!({ "pebble": {
            "listenAddress": format!("127.0.0.1:{port}"),
            "managementListenAddress": format!("127.0.0.1:{management}"),
            "certificate": identity.certificate,
            "privateKey": identity.key,
            "httpPort": asks,
            "tlsPort": free_port(),
            "ocspResponderURL": "",
            "externalAccountBindingRequired": false,
        }});
        let file = dir.join("pebble.json");
        fs::write(&file, config.to_string()).unwrap();
        let log = File::create(dir.join("pebble.log")).unwrap();
        let run = |program: &str, arguments: &[&str]| {
            let mut command = installed(program, "pebble");
            command.args(arguments).env("PEBBLE_VA_NOSLEEP", "1").stdin(Stdio::null());
            // By default it refuses every twentieth nonce, three of which in a row are a failure.
            command.env("PEBBLE_WFE_NONCEREJECT", "0");
            command.stdout(log.try_clone().unwrap()).stderr(log.try_clone().unwrap());
            command.spawn().unwrap()
        };
        let at = |port: u16| format!("127.0.0.1:{port}");
        let names = run(
            "pebble-challtestsrv",
            &[
                "-defaultIPv4",
                "127.0.0.1",
                "-defaultIPv6",
                "",
                "-dns01",
                &at(dns),
                "-http01",
                "",
                "-https01",
                "",
                "-tlsalpn01",
                "",
                "-management",
                &at(free_port()),
            ],
        );
        let signs =
            run("pebble", &["-config", file.to_str().unwrap(), "-dnsserver", &at(dns), "-strict"]);
        let pebble = Self { children: vec![names, signs], port, management };
        let answers = |port| std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
        assert!(
            soon(|| answers(dns) && answers(port)),
            "{}",
            fs::read_to_string(dir.join("pebble.log")).unwrap()
        );
        pebble
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        for child in &mut self.children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

#[test]
fn a_certificate_is_got_from_an_authority_and_kept() {
    let (authority, dir) = (Authority::new(), tempfile::tempdir().unwrap());
    let asks = free_port();
    let pebble = Pebble::start(&authority, dir.path(), asks);
    let mut house = House::empty(&format!(
        "acme_names = ['{NAME}']\nacme_contact = 'admin@voicemail.example'\n\
         acme_directory = 'https://localhost:{}/dir'\nacme_directory_ca = '{}'\n\
         acme_listen = ['127.0.0.1:{asks}']\n",
        pebble.port,
        authority.ca().display()
    ));
    house.start();
    let root = dir.path().join("root.pem");
    let management = format!("https://localhost:{}/roots/0", pebble.management);
    curl(&[
        "--cacert",
        authority.ca().to_str().unwrap(),
        "-o",
        root.to_str().unwrap(),
        &management,
    ])
    .expect("pebble tells its root");
    let healthy = |house: &House| {
        let port = house.web().port();
        let place = format!("{NAME}:{port}:127.0.0.1");
        let url = format!("https://{NAME}:{port}/v1/health");
        curl(&["--cacert", root.to_str().unwrap(), "--resolve", &place, &url])
    };
    house.until("the certificate is there", || healthy(&house).is_ok());
    assert!(healthy(&house).unwrap().contains("\"status\":\"ok\""));
    // Nothing else is answered where the authority asks.
    let url = format!("http://127.0.0.1:{asks}/.well-known/acme-challenge/x");
    assert!(curl(&[&url]).unwrap_err().contains("404"), "{url}");

    // The next start needs no authority.
    drop(pebble);
    house.kill();
    house.start();
    assert!(healthy(&house).is_ok());
    assert!(!house.log().contains("no certificate for"), "{}", house.log());
}

fn curl(arguments: &[&str]) -> Result<String, String> {
    let told = Command::new("curl").args(["-sS", "--fail"]).args(arguments).output().unwrap();
    if told.status.success() {
        return Ok(String::from_utf8(told.stdout).unwrap());
    }
    Err(String::from_utf8_lossy(&told.stderr).into_owned())
}
