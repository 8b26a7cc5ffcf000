//! One suite for three databases: each case gets a new database of its own.
//!
//! A test starts one private server and runs every case on it, since each test is a
//! process of its own under nextest and a server takes seconds to make.

mod adopted_cases;
mod audit_cases;
mod change_cases;
mod check_cases;
mod conflict_cases;
mod digest_cases;
mod extend_cases;
mod fitness_cases;
mod import_cases;
mod issue_cases;
mod journal_cases;
mod knox_cases;
mod migrate_cases;
mod outage_cases;
mod outbox_cases;
mod prune_cases;
mod read_cases;
mod revoke_cases;
mod sequence_cases;
mod server;
mod world;

use self::{server::Server, world::World};

/// Runs each case on a database of its own, all of them whatever fails, and names those that did.
macro_rules! run {
    ($server:expr, $prepare:path, [$($case:path),* $(,)?]) => {{
        let mut failed = Vec::new();
        $(
            let world = $prepare($server).await;
            if tokio::spawn($case(world)).await.is_err() {
                failed.push(stringify!($case));
            }
        )*
        assert!(failed.is_empty(), "on {}: {failed:#?}", $server.name());
    }};
}

async fn every_case_holds(server: Server) {
    run!(
        &server,
        World::native,
        [
            read_cases::a_stored_token_is_found_as_it_was_written,
            read_cases::unknown_expired_revoked_and_orphaned_tokens_are_told_apart,
            read_cases::a_restored_row_brings_no_revoked_token_back,
            read_cases::pages_of_every_state_come_newest_first_and_once,
            read_cases::a_look_up_is_one_statement_of_primary_key_probes,
            read_cases::look_ups_beyond_the_bound_are_refused_at_once,
            read_cases::a_caller_leaves_places_for_others,
            issue_cases::an_unknown_user_is_created_or_refused_as_configured,
            issue_cases::the_limit_holds_under_20_parallel_issues,
            issue_cases::expired_tokens_do_not_count_against_the_limit,
            issue_cases::a_repeated_request_gets_the_first_token,
            issue_cases::a_request_id_with_another_body_is_refused,
            issue_cases::concurrent_duplicates_store_one_token,
            issue_cases::a_refused_issue_leaves_its_request_id_free,
            issue_cases::parallel_issues_and_revocations_of_one_user_all_succeed,
            revoke_cases::a_revocation_is_kept_and_may_be_repeated,
            revoke_cases::revoke_all_spares_one_and_a_retry_names_the_tokens_again,
            revoke_cases::revoke_all_of_more_tokens_than_one_statement_takes,
            revoke_cases::a_user_is_created_changed_and_deleted_with_its_tokens,
            revoke_cases::a_write_outlives_its_caller,
            extend_cases::an_expiry_moves_once_and_needs_no_record,
            extend_cases::what_has_ended_or_changed_is_left_alone,
            extend_cases::a_revocation_that_meets_an_extension_ends_the_token,
            outage_cases::ping_does_not_wait_for_the_pool,
        ]
    );
    run!(
        &server,
        World::empty,
        [
            migrate_cases::up_again_down_and_up,
            migrate_cases::two_at_once_apply_each_change_once,
            migrate_cases::a_schema_that_is_behind_is_refused_with_the_command,
            migrate_cases::a_schema_that_is_ahead_is_accepted,
            migrate_cases::native_tables_take_configured_names_and_keys,
            knox_cases::django_s_tables_with_integer_users,
            knox_cases::django_s_tables_with_uuid_users,
            knox_cases::users_of_django_are_only_switched_on_and_off,
            knox_cases::hostile_names_are_only_names,
            extend_cases::an_expiry_that_django_wrote_moves,
        ]
    );
}

async fn changes_hold(server: &Server) {
    run!(
        server,
        World::native,
        [
            change_cases::a_change_is_kept_noted_and_may_be_repeated,
            change_cases::an_end_is_moved_either_way_and_no_ended_token_brought_back,
            change_cases::use_does_not_move_an_end_that_was_set,
            change_cases::a_successor_takes_over_and_the_old_token_ends_after_the_overlap,
            change_cases::a_repeated_rotation_gets_the_first_successor_and_no_limit_counts,
            change_cases::a_rotation_that_meets_revoke_all_leaves_no_token_behind,
            change_cases::a_change_that_meets_a_rotation_is_the_successor_s_or_is_refused,
            change_cases::last_uses_are_written_forward_and_once_a_minute,
            change_cases::users_are_listed_page_by_page_and_outdated_one_by_one,
            change_cases::pages_are_stable_while_tokens_come_and_go,
        ]
    );
    run!(server, World::empty, [change_cases::tokens_that_django_wrote_are_changed_and_rotated]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_hold_on_sqlite() {
    changes_hold(&Server::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_hold_on_postgres() {
    changes_hold(&Server::postgres().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_hold_on_mariadb() {
    changes_hold(&Server::mariadb().await).await;
}

async fn adopted_tables_hold(server: &Server) {
    run!(
        server,
        World::empty,
        [
            digest_cases::a_row_of_knox_4_is_found_and_once_revoked_stays_so,
            digest_cases::of_a_row_of_each_version_the_current_one_counts,
            digest_cases::an_upgraded_row_is_one_of_knox_5_and_leaves_a_record,
            digest_cases::a_revocation_that_meets_an_upgrade_ends_the_token,
            digest_cases::an_upgrade_that_fails_changes_nothing,
            digest_cases::digests_of_32_bytes_are_found_listed_revoked_and_noted,
            digest_cases::a_digest_in_capitals_or_with_a_space_is_another_one,
            adopted_cases::times_without_a_zone_are_of_the_configured_one,
            adopted_cases::the_end_of_a_token_with_local_times_is_noted,
            adopted_cases::a_swapped_model_s_columns_are_filled_as_configured,
            adopted_cases::keys_of_every_type_that_the_database_has,
            adopted_cases::the_limit_counts_django_s_tokens_under_20_parallel_issues,
            check_cases::our_own_tables_pass_and_an_empty_database_is_told_what_to_run,
            check_cases::every_fault_of_adopted_tables_is_named_with_its_remedy,
            check_cases::tables_of_knox_4_and_of_swapped_models_are_found_wanting,
        ]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn adopted_tables_hold_on_sqlite() {
    adopted_tables_hold(&Server::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn adopted_tables_hold_on_postgres() {
    let server = Server::postgres().await;
    adopted_tables_hold(&server).await;
    run!(
        &server,
        World::empty,
        [
            adopted_cases::tables_are_found_by_the_search_path_and_ours_put_beside_them,
            check_cases::rights_that_are_missing_on_postgres_are_named,
        ]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn adopted_tables_hold_on_mariadb() {
    adopted_tables_hold(&Server::mariadb().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_case_holds_on_sqlite() {
    let server = Server::sqlite();
    run!(
        &server,
        World::native,
        [read_cases::sqlite_times_are_text_as_django_writes_it, read_cases::a_new_sqlite_file_is_for_its_owner_only,]
    );
    every_case_holds(server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_case_holds_on_postgres() {
    every_case_holds(Server::postgres().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_case_holds_on_mariadb() {
    every_case_holds(Server::mariadb().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outages_of_postgres_cost_a_bounded_wait_and_end_without_a_restart() {
    outage_cases::restart_hang_and_black_hole(Server::postgres().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outages_of_mariadb_cost_a_bounded_wait_and_end_without_a_restart() {
    outage_cases::restart_hang_and_black_hole(Server::mariadb().await).await;
}

async fn the_journal_holds(server: &Server) {
    run!(
        server,
        World::native,
        [
            journal_cases::each_cause_on_our_own_tables_is_noted_and_nothing_else,
            journal_cases::our_own_writes_note_what_they_end_without_a_trigger,
            journal_cases::a_revocation_s_position_covers_its_record_and_a_retry_s_does,
            sequence_cases::eight_sequencers_give_each_record_one_number_without_gaps,
            sequence_cases::a_reading_is_stamped_below_every_record_that_it_does_not_reflect,
            sequence_cases::records_that_cannot_be_read_stand_for_everything,
            sequence_cases::a_purge_raises_the_floor_and_keeps_what_is_above_it,
            sequence_cases::triggers_that_are_gone_are_named_and_migrate_up_brings_them_back,
            sequence_cases::the_canary_comes_back_and_leaves_nothing_behind,
            sequence_cases::a_new_epoch_shows_in_reads_and_polls,
            sequence_cases::everything_is_noted_and_numbered_at_once,
            fitness_cases::looks_go_on_while_the_pool_is_exhausted,
            fitness_cases::settings_that_lose_commits_are_named,
        ]
    );
    run!(
        server,
        World::empty,
        [
            journal_cases::a_user_s_attributes_in_django_s_table_are_noted_and_other_columns_not,
            journal_cases::a_user_s_key_is_noted_as_answers_carry_it,
            journal_cases::a_cascade_to_tokens_is_covered_by_the_user_s_record,
            sequence_cases::triggers_for_another_configuration_are_named_and_replaced,
            sequence_cases::the_canary_flies_in_django_s_tables,
        ]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_journal_holds_on_sqlite() {
    let server = Server::sqlite();
    run!(
        &server,
        World::native,
        [journal_cases::replace_on_sqlite_goes_unseen, journal_cases::times_of_any_writer_are_compared_on_sqlite]
    );
    the_journal_holds(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_journal_holds_on_postgres() {
    let server = Server::postgres().await;
    run!(
        &server,
        World::native,
        [
            journal_cases::writers_without_rights_on_the_journal_or_that_replicate_are_noted,
            journal_cases::an_update_of_every_row_after_one_of_one_row_is_not_slow,
            journal_cases::truncation_and_large_statements_are_noted_as_everything,
            sequence_cases::numbers_follow_the_order_of_commits_and_wait_for_nobody,
            sequence_cases::a_disabled_trigger_is_named,
            conflict_cases::conflicts_are_tried_again_and_not_for_ever,
            fitness_cases::records_are_announced,
            fitness_cases::a_server_that_is_read_only_by_default_is_no_primary,
        ]
    );
    run!(&server, World::empty, [sequence_cases::the_rights_stated_are_enough]);
    the_journal_holds(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_journal_holds_on_mariadb() {
    let server = Server::mariadb().await;
    run!(
        &server,
        World::native,
        [
            sequence_cases::numbers_follow_the_order_of_commits_and_wait_for_nobody,
            sequence_cases::a_read_only_server_is_no_primary,
            conflict_cases::conflicts_are_tried_again_and_not_for_ever,
        ]
    );
    run!(&server, World::empty, [sequence_cases::the_rights_stated_are_enough]);
    the_journal_holds(&server).await;
}

async fn the_upkeep_holds(server: &Server) {
    run!(
        server,
        World::native,
        [
            prune_cases::what_expired_long_ago_goes_and_nothing_else,
            prune_cases::a_token_that_is_prolonged_meanwhile_stays,
            prune_cases::one_process_prunes_at_a_time,
            audit_cases::a_record_is_written_once_however_often_and_whatever_callers_sent,
            audit_cases::records_are_deleted_when_they_are_past_their_retention,
            outbox_cases::each_token_that_we_end_leaves_a_notice_and_a_retry_none,
            outbox_cases::without_anybody_to_tell_nothing_is_written,
            outbox_cases::a_thousand_tokens_of_one_user_leave_a_thousand_notices,
            import_cases::an_import_that_was_broken_off_is_run_again,
        ]
    );
    run!(
        server,
        World::empty,
        [
            prune_cases::what_expired_long_ago_goes_from_django_s_table_too,
            prune_cases::no_batch_scans_the_table,
            outbox_cases::users_are_named_as_django_names_them,
            import_cases::keys_of_django_are_tokens_of_knox,
            import_cases::no_other_error_is_hidden,
            import_cases::further_columns_are_filled_in_imported_rows,
        ]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_upkeep_holds_on_sqlite() {
    the_upkeep_holds(&Server::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_upkeep_holds_on_postgres() {
    the_upkeep_holds(&Server::postgres().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_upkeep_holds_on_mariadb() {
    the_upkeep_holds(&Server::mariadb().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgres_in_recovery_is_no_primary_and_a_promoted_one_begins_another_epoch() {
    sequence_cases::recovery_and_promotion(Server::postgres().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_costs_the_journal_of_postgres_at_most_one_look() {
    fitness_cases::a_restart_costs_at_most_one_look(Server::postgres().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_costs_the_journal_of_mariadb_at_most_one_look() {
    fitness_cases::a_restart_costs_at_most_one_look(Server::mariadb().await).await;
}
