//! An identity provider that signs tokens and publishes its keys (JWKS), and may be away.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::KeyPair;
use serde::Serialize;
use serde_json::{Value, json};

use crate::tokens::signed;

/// A key pair for ES256 that has a name.
pub(crate) struct NamedKey {
    kid: String,
    pair: KeyPair,
}

impl NamedKey {
    /// Makes one.
    pub(crate) fn new(kid: &str) -> Self {
        Self { kid: kid.to_owned(), pair: KeyPair::generate().expect("a key can be made") }
    }

    /// The public half, in PEM.
    pub(crate) fn public_pem(&self) -> String {
        self.pair.public_key_pem()
    }

    /// A token with these claims that names the key.
    pub(crate) fn token(&self, claims: &impl Serialize) -> String {
        self.token_naming(Some(&self.kid), claims)
    }

    /// A token that is signed with it, and names another key or none.
    pub(crate) fn token_naming(&self, kid: Option<&str>, claims: &impl Serialize) -> String {
        let header = Header { kid: kid.map(str::to_owned), ..Header::new(Algorithm::ES256) };
        let key = EncodingKey::from_ec_pem(self.pair.serialize_pem().as_bytes()).expect("it is PEM");
        signed(&header, &key, claims)
    }

    fn jwk(&self) -> Value {
        // Behind a byte that says so come the two coordinates of the point.
        let coordinates = self.pair.public_key_raw()[1..].chunks(32);
        let [x, y] = coordinates
            .map(|bytes| BASE64_URL_SAFE_NO_PAD.encode(bytes))
            .collect::<Vec<_>>()
            .try_into()
            .expect("a point has two coordinates");
        json!({ "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": self.kid, "x": x, "y": y })
    }
}

/// The server; it ends with the tests.
pub(crate) struct KeyServer {
    address: SocketAddr,
    /// `None` while it is away.
    set: Arc<Mutex<Option<String>>>,
}

impl KeyServer {
    /// Starts one that has nothing to say yet.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        let address = listener.local_addr().expect("it is bound");
        let set = Arc::new(Mutex::new(None));
        let answers = set.clone();
        std::thread::spawn(move || {
            listener.incoming().flatten().for_each(|stream| answer(&stream, &answers));
        });
        Self { address, set }
    }

    /// The configuration that reads tokens' keys here.
    pub(crate) fn configuration(&self) -> String {
        format!("[client.token]\njwks_public_endpoint = \"http://{}/keys\"\n", self.address)
    }

    /// Publishes these keys and no others.
    pub(crate) fn publish(&self, keys: &[&NamedKey]) {
        let keys: Vec<Value> = keys.iter().map(|key| key.jwk()).collect();
        *self.set.lock().expect("nothing panics under the lock") = Some(json!({ "keys": keys }).to_string());
    }

    /// Answers 503 from now on.
    pub(crate) fn go_away(&self) {
        *self.set.lock().expect("nothing panics under the lock") = None;
    }
}

fn answer(mut stream: &TcpStream, set: &Mutex<Option<String>>) {
    let head = BufReader::new(stream).lines().map_while(Result::ok).take_while(|line| !line.is_empty());
    let asked = head.count() > 0;
    let set = set.lock().expect("nothing panics under the lock").clone();
    let (status, body) = set.map_or(("503 Service Unavailable", String::new()), |set| ("200 OK", set));
    let len = body.len();
    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {len}\r\nConnection: close\r\n\r\n{body}");
    if asked {
        // A server that has ended meanwhile needs no answer.
        let _ = stream.write_all(answer.as_bytes());
    }
}
