//! Tokens in the tables of a Django project with django-rest-knox, which stay Django's.

use sha2::{Digest as _, Sha512};
use tokenward::proto::{DeleteUserRequest, InactiveReason, UpsertUserRequest, User};
use tonic::Code;

use crate::harness::{
    client::{Refusal, for_user},
    stack::{Stack, With},
};

/// A token as knox 5 makes them, and the statement by which Django stores it.
fn djangos_token(user: u32) -> (String, String) {
    let token = format!("{user:x}").repeat(64)[..64].to_owned();
    let digest = hex::encode(Sha512::digest(&token));
    let key = &token[..15];
    let insert = format!("INSERT INTO knox_authtoken VALUES ('{digest}', now(), NULL, {user}, '{key}')");
    (token, insert)
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_django_issued_authenticate_and_ours_are_in_its_table() {
    let mut stack = Stack::start_beside_django(With::Redis).await;
    let client = stack.client();
    let (alices, insert_alices) = djangos_token(1);
    let (bobs, insert_bobs) = djangos_token(2);
    stack.postgres().server.execute_as_owner(&insert_alices).await;
    stack.postgres().server.execute_as_owner(&insert_bobs).await;
    let answer = client.authenticate(&alices).await;
    assert_eq!((answer.active, answer.user.map(|user| user.user_id)), (true, Some("1".to_owned())));
    assert_eq!(answer.token.expect("it is active").expire_time, None, "NULL is never");
    assert_eq!(client.reason(&bobs).await, InactiveReason::UserDisabled);

    let issued = client.issue("1").await;
    assert_eq!(client.reason(&issued.secret).await, InactiveReason::Unspecified);
    let digest = hex::encode(Sha512::digest(&issued.secret));
    let key = &issued.secret[..15];
    // Fails, and with it the test, unless the row is there as knox writes it.
    let look = format!(
        "DO $$ BEGIN ASSERT (SELECT count(*) = 1 FROM knox_authtoken WHERE digest = '{digest}' \
         AND token_key = '{key}' AND user_id = 1 AND expiry > now() AND created <= now()); END $$"
    );
    stack.postgres().server.execute_as_owner(&look).await;

    assert!(client.revoke(&alices).await.revoked);
    assert!(!client.authenticate(&alices).await.active);
    let gone = "DO $$ BEGIN ASSERT (SELECT count(*) = 2 FROM knox_authtoken); END $$";
    stack.postgres().server.execute_as_owner(gone).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_djangos_to_change_is_refused() {
    let stack = Stack::start_beside_django(With::Memory).await;
    let client = stack.client();
    let mut users = client.users.clone();
    let user = |id: &str| {
        let attributes = [("username".to_owned(), "mallory".to_owned())].into();
        Some(User { user_id: id.to_owned(), active: true, attributes })
    };
    let delete = users.delete_user(DeleteUserRequest { user_id: "1".to_owned() }).await;
    let upsert = users.upsert_user(UpsertUserRequest { user: user("1"), update_mask: None }).await;
    for (what, status) in [("delete", delete.err()), ("attributes", upsert.err())] {
        let refusal = Refusal::of(&status.unwrap_or_else(|| panic!("{what}: users are Django's")));
        assert_eq!(refusal.kind(), (Code::FailedPrecondition, "SCHEMA_UNSUPPORTED"), "{what}");
    }
    let stranger = client.try_issue(for_user("99")).await.expect_err("users are not created here");
    assert_eq!(Refusal::of(&stranger).kind(), (Code::NotFound, "NOT_FOUND"));
    for id in ["alice", "1.5", "99999999999999999999", "-"] {
        let refusal = Refusal::of(&client.try_issue(for_user(id)).await.expect_err("it is no integer"));
        assert_eq!(refusal.kind(), (Code::InvalidArgument, "INVALID_REQUEST"), "{id}");
        assert_eq!(refusal.fields, ["user_id"], "{id}");
    }
}
