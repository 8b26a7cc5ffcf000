//! The owners of tokens.

use std::collections::HashMap;

use prost_types::FieldMask;
use tokenward::proto::{DeleteUserRequest, GetUserRequest, InactiveReason, PropagationState, UpsertUserRequest, User};
use tonic::{Code, Response};

use super::assert_active;
use crate::harness::client::{Client, Refusal, for_user};

fn user(id: &str, active: bool, attributes: &[(&str, &str)]) -> User {
    let attributes = attributes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    User { user_id: id.to_owned(), active, attributes: attributes.collect::<HashMap<_, _>>() }
}

async fn get(client: &Client, id: &str) -> Result<User, Refusal> {
    let answer = client.users.clone().get_user(GetUserRequest { user_id: id.to_owned() }).await;
    let answer = answer.map_err(|status| Refusal::of(&status))?;
    Ok(answer.into_inner().user.expect("a user that is there is given"))
}

async fn masked(client: &Client, user: User, path: &str) -> User {
    let request = UpsertUserRequest { user: Some(user), update_mask: Some(FieldMask { paths: vec![path.to_owned()] }) };
    let answer = client.users.clone().upsert_user(request).await.map(Response::into_inner);
    answer.expect("a user can be written").user.expect("the user as written")
}

pub(super) async fn a_user_is_written_read_and_removed(client: &Client) {
    let id = "Zoë@example.com";
    assert_eq!(get(client, id).await.expect_err("not yet").kind(), (Code::NotFound, "NOT_FOUND"));
    let zoe = user(id, true, &[("email", id), ("plan", "gold")]);
    let written = client.upsert_user(zoe.clone()).await;
    assert_eq!(written.user.as_ref(), Some(&zoe));
    assert_eq!(get(client, id).await.expect("it is there"), zoe);

    let issued = client.issue(id).await;
    assert_eq!(client.authenticate(&issued.secret).await.user, Some(zoe.clone()));
    let silver = user(id, false, &[("plan", "silver")]);
    let changed = masked(client, silver, "attributes").await;
    assert_eq!(changed, user(id, true, &[("plan", "silver")]), "active was not in the mask");
    assert_eq!(client.authenticate(&issued.secret).await.user, Some(changed), "no cache answers the old attributes");

    let delete = DeleteUserRequest { user_id: id.to_owned() };
    let deleted = client.users.clone().delete_user(delete.clone()).await.expect("a user can be deleted").into_inner();
    assert_eq!(deleted.revoked_count, 1);
    assert!(!client.authenticate(&issued.secret).await.active, "the tokens go with their user");
    assert_eq!(get(client, id).await.expect_err("gone").kind(), (Code::NotFound, "NOT_FOUND"));
    let again = client.users.clone().delete_user(delete).await.expect("a retry is no error").into_inner();
    assert_eq!(again.revoked_count, 0);
    // Whoever gets the name next does not get the tokens of who had it before.
    client.upsert_user(user(id, true, &[])).await;
    assert!(!client.authenticate(&issued.secret).await.active, "a new user of that name has no old token");
}

pub(super) async fn a_disabled_user_has_no_active_token_until_enabled(client: &Client) {
    let (first, second) = (client.issue("suspect").await, client.issue("suspect").await);
    for _ in 0..2 {
        assert_active(client, &first.secret).await;
    }
    assert_active(client, &second.secret).await;
    let disabled = client.upsert_user(user("suspect", false, &[])).await;
    let state = disabled.propagation.expect("a change says how far it has spread").state();
    assert_eq!(state, PropagationState::Complete);
    for token in [&first, &second] {
        assert_eq!(client.reason(&token.secret).await, InactiveReason::UserDisabled);
    }
    let refused = client.try_issue(for_user("suspect")).await.expect_err("a token would not be active");
    assert_eq!(Refusal::of(&refused).kind(), (Code::FailedPrecondition, "USER_DISABLED"));
    masked(client, user("suspect", true, &[]), "active").await;
    assert_active(client, &first.secret).await;
    assert_active(client, &second.secret).await;
    client.issue("suspect").await;
}
