//! Who may connect, with which credentials, and the limits of a connection. What a role may publish
//! and subscribe to is in `permissions.rs`.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use data_encoding::BASE64URL_NOPAD;
use nkeys::KeyPair;
use scuttle_schemas::subjects::{self, AgentChannel};
use scuttle_tests::cluster::provisioned_server::connect_options;
use scuttle_tests::{Client, Nats, ProvisionedServer, Role, TestResult};
use serde_json::{Value, json};

#[tokio::test]
async fn the_system_credentials_can_only_update_accounts() -> TestResult {
    let bus = ProvisionedServer::start().await?;
    let system = bus.connect(&bus.credentials("system")).await?;
    let command = AgentChannel::Commands.subject(&"worker-a".parse()?);
    for subject in [
        "$SYS.REQ.CLAIMS.DELETE",
        "$SYS.REQ.CLAIMS.LIST",
        "$SYS.REQ.SERVER.PING",
        "$SYS.REQ.SERVER.RELOAD",
        subjects::TEARDOWN,
        &command,
    ] {
        system.expect_request_denied(subject, &Value::Null).await?;
    }
    for subject in ["$SYS.>", "$SYS.ACCOUNT.*.CONNECT", ">"] {
        let _ear = system.nats().subscribe(subject).await?;
        system.expect_denied(subject).await?;
    }
    Ok(())
}

#[tokio::test]
async fn the_server_rejects_clients_without_a_valid_password() -> TestResult {
    let nats = Nats::start().await?;
    let options = async_nats::ConnectOptions::new;
    for login in [
        options(),
        options().user_and_password("operator".into(), String::new()),
        options().user_and_password("operator".into(), nats.password(Role::Viewer).into()),
        options().user_and_password("nobody".into(), nats.password(Role::Operator).into()),
        options().token(nats.password(Role::Operator).into()),
    ] {
        expect_rejected(login, &nats.url()).await?;
    }
    Client::connect(&nats, Role::Operator).await?;
    Ok(())
}

/// The server rejects anonymous clients, passwords, and credentials that another server's `scuttle
/// init` created. It also rejects a user's token together with another user's key.
#[tokio::test]
async fn the_server_rejects_clients_without_credentials_of_its_own() -> TestResult {
    let (bus, foreign) = (
        ProvisionedServer::start().await?,
        ProvisionedServer::start().await?,
    );
    let options = async_nats::ConnectOptions::new;
    expect_rejected(options(), &bus.url()).await?;
    expect_rejected(
        options().user_and_password("admin".into(), "admin".into()),
        &bus.url(),
    )
    .await?;
    for user in ["admin", "controller", "system"] {
        expect_rejected(connect_options(&foreign.credentials(user))?, &bus.url()).await?;
    }
    // The token of the admin with the key of another user.
    let (admin, vera) = (
        read_token(&bus.credentials("admin"))?,
        bus.add_user("vera", "viewer").await?,
    );
    let stolen = fs::read_to_string(&vera)?.replace(&read_token(&vera)?, &admin);
    expect_rejected(options().credentials(&stolen)?, &bus.url()).await?;
    bus.connect(&bus.credentials("admin")).await?;
    Ok(())
}

async fn expect_rejected(login: async_nats::ConnectOptions, url: &str) -> TestResult {
    let rejection = Client::connect_with(login, url).await.map(|_| ());
    let error = rejection
        .expect_err("a connection without a login")
        .to_string();
    ensure!(error.to_lowercase().contains("authorization"), "{error}");
    Ok(())
}

/// Reads the user's token from a credentials file.
fn read_token(creds: &Path) -> Result<String> {
    let text = fs::read_to_string(creds)?;
    Ok(text.lines().nth(1).context("a second line")?.to_owned())
}

fn decode_claims(token: &str) -> Result<Value> {
    let claims = token
        .split('.')
        .nth(1)
        .context("the token has fewer than three parts")?;
    Ok(serde_json::from_slice(
        &BASE64URL_NOPAD.decode(claims.as_bytes())?,
    )?)
}

/// The holder of the key that signs agents can create agents and nothing else. The server rejects a
/// token that was signed by another key, was changed, or has expired.
#[tokio::test]
async fn the_key_of_a_role_can_create_only_users_of_its_role() -> TestResult {
    let bus = ProvisionedServer::start().await?;
    let _controller = bus.start_controller().await?;
    let creds = bus.enroll("worker-a").await?;
    let made = decode_claims(&read_token(&creds)?)?;
    let key = |name: &str| -> Result<KeyPair> {
        let seed = fs::read_to_string(bus.path("bus/keys").join(format!("{name}.seed")))?;
        Ok(KeyPair::from_seed(seed.trim())?)
    };
    let (agent, viewer) = (key("agent")?, key("viewer")?);
    let anything = json!({ "allow": [">"] });
    for (good, signer, field, value) in [
        (true, &agent, "/name", json!("worker-b")),
        // With its own permissions, in another account, signed by another key, and expired.
        (false, &agent, "/nats/pub", anything.clone()),
        (false, &agent, "/nats/sub", anything),
        (
            false,
            &agent,
            "/nats/issuer_account",
            json!(viewer.public_key()),
        ),
        (false, &viewer, "/name", json!("worker-b")),
        (false, &KeyPair::new_account(), "/name", json!("worker-b")),
        (false, &agent, "/exp", json!(1_000_000_000)),
    ] {
        let user = KeyPair::new_user();
        let mut claims = made.clone();
        claims["sub"] = user.public_key().into();
        claims["iss"] = signer.public_key().into();
        let (parent, name) = field.rsplit_once('/').context("a path")?;
        claims.pointer_mut(parent).context("a parent")?[name] = value;
        let login = sign_login(&claims, signer, &user)?;
        if good {
            Client::connect_with(login, &bus.url()).await?;
        } else {
            expect_rejected(login, &bus.url()).await.context(field)?;
        }
    }
    // The signature covers the whole token.
    let mut renamed = made.clone();
    renamed["name"] = "worker-b".into();
    let signed = read_token(&creds)?;
    let (_, signature) = signed
        .rsplit_once('.')
        .context("the token has fewer than three parts")?;
    let header = signed
        .split('.')
        .next()
        .context("the token has fewer than three parts")?;
    let renamed = BASE64URL_NOPAD.encode(&serde_json::to_vec(&renamed)?);
    let changed = format!("{header}.{renamed}.{signature}");
    let changed = fs::read_to_string(&creds)?.replace(&signed, &changed);
    let options = async_nats::ConnectOptions::new().credentials(&changed)?;
    expect_rejected(options, &bus.url()).await
}

/// Returns the connect options of `user` with these claims, signed by `signer`.
fn sign_login(
    claims: &Value,
    signer: &KeyPair,
    user: &KeyPair,
) -> Result<async_nats::ConnectOptions> {
    let header = BASE64URL_NOPAD.encode(br#"{"typ":"JWT","alg":"ed25519-nkey"}"#);
    let claims = BASE64URL_NOPAD.encode(&serde_json::to_vec(claims)?);
    let text = format!("{header}.{claims}");
    let signature = BASE64URL_NOPAD.encode(&signer.sign(text.as_bytes())?);
    let user = KeyPair::from_seed(&user.seed()?)?;
    let sign = move |nonce: Vec<u8>| {
        let proof = user.sign(&nonce).map_err(async_nats::AuthError::new);
        async move { proof }
    };
    Ok(async_nats::ConnectOptions::with_jwt(
        format!("{text}.{signature}"),
        sign,
    ))
}

/// The limits of a role apply to a single connection. The limits of an account apply to all of its
/// connections together.
#[tokio::test]
async fn the_limits_of_roles_and_accounts_are_enforced() -> TestResult {
    let bus = ProvisionedServer::start().await?;
    let _controller = bus.start_controller().await?;
    let creds = bus.enroll("worker-a").await?;
    let host = "worker-a".parse()?;
    let agent = bus.connect_agent(&creds, &host).await?;
    let mut subscriptions = Vec::new();
    for number in 0..9 {
        let subject = format!("{}.{number}", subjects::agent_inbox_prefix(&host));
        subscriptions.push(agent.nats().subscribe(subject).await?);
    }
    agent.expect_server_error("maximum subscriptions").await?;

    let olga = bus
        .connect(&bus.add_user("olga", "operator").await?)
        .await?;
    let nats = olga.nats();
    nats.publish(subjects::HOSTS_LIST, vec![b' '; 64 * 1024 + 1].into())
        .await?;
    olga.expect_server_error("maximum payload").await?;

    // The account has its maximum number of connections: the next one is rejected, and other
    // accounts are not affected.
    let mut connections = Vec::new();
    for _ in 0..64 {
        connections.push(bus.connect(&bus.credentials("system")).await?);
    }
    let next = bus.connect(&bus.credentials("system")).await.map(|_| ());
    let error = next
        .expect_err("the account has its maximum number of connections")
        .to_string();
    ensure!(error.contains("maximum account"), "{error}");
    bus.connect(&bus.credentials("admin")).await?;
    Ok(())
}
