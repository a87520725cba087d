//! The default limits, each with its unit in its name.

/// Largest body of one message.
pub const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Largest sum of all property names and values of one message.
pub const PROPERTIES_BYTES_MAX: usize = 32 * 1024;
/// Most properties of one message.
pub const PROPERTIES_COUNT_MAX: usize = 128;
/// Longest topic name.
pub const TOPIC_CHARACTERS_MAX: usize = 127;
/// Longest name of a producer group, a consumer group or a guard's scope.
pub const GROUP_CHARACTERS_MAX: usize = 120;
/// Longest id of a message.
pub const MESSAGE_ID_CHARACTERS_MAX: usize = 128;
/// Longest tag of a message.
pub const TAG_CHARACTERS_MAX: usize = 128;
/// Longest business key of a message.
pub const KEY_CHARACTERS_MAX: usize = 128;
/// Most business keys of one message.
pub const KEYS_COUNT_MAX: usize = 16;
/// Longest message group, the FIFO key.
pub const MESSAGE_GROUP_CHARACTERS_MAX: usize = 128;
/// Most messages or operations in one batch.
pub const BATCH_COUNT_MAX: usize = 4_096;
/// Farthest that a delivery can be put off.
pub const DELAY_MS_MAX: u64 = 365 * DAY_MS;
/// Most queues of one topic.
pub const QUEUES_COUNT_MAX: u32 = 1_024;
/// Queues of a topic unless it is created with another number.
pub const QUEUES_COUNT_DEFAULT: u32 = 4;

/// Most data groups of a cluster.
pub const DATA_GROUPS_COUNT_MAX: u32 = 64;

/// Most topics that one consumer subscribes to.
pub const SUBSCRIPTIONS_COUNT_MAX: usize = 64;
/// Most messages that one consumer may have outstanding.
pub const CREDITS_COUNT_MAX: u32 = 65_536;
/// Longest name of a consumer's instance.
pub const INSTANCE_CHARACTERS_MAX: usize = 128;
/// Longest tag filter of a subscription.
pub const FILTER_CHARACTERS_MAX: usize = 4_096;
/// Longest wait of one Receive call.
pub const RECEIVE_WAIT_MS_MAX: u64 = 60_000;
/// Messages that one Receive call asks for unless it says otherwise.
pub const RECEIVE_COUNT_DEFAULT: u32 = 32;

/// Shortest lease of a delivered message.
pub const LEASE_MS_MIN: u64 = 1_000;
/// Longest lease of a delivered message, and of a guard.
pub const LEASE_MS_MAX: u64 = 12 * 60 * MINUTE_MS;
/// Lease of a delivered message, and of a guard, unless asked for otherwise.
pub const LEASE_MS_DEFAULT: u64 = 30_000;
/// Deliveries before a message becomes a dead letter.
pub const ATTEMPTS_COUNT_DEFAULT: u32 = 16;
/// Most waits in a consumer group's retry table.
pub const RETRY_DELAYS_COUNT_MAX: usize = 64;
/// Waits before the second, third, ... delivery; the last one repeats.
/// Apache RocketMQ's delay levels from the third on.
pub const RETRY_DELAYS_MS_DEFAULT: [u64; 16] = [
    10_000,
    30_000,
    MINUTE_MS,
    2 * MINUTE_MS,
    3 * MINUTE_MS,
    4 * MINUTE_MS,
    5 * MINUTE_MS,
    6 * MINUTE_MS,
    7 * MINUTE_MS,
    8 * MINUTE_MS,
    9 * MINUTE_MS,
    10 * MINUTE_MS,
    20 * MINUTE_MS,
    30 * MINUTE_MS,
    60 * MINUTE_MS,
    120 * MINUTE_MS,
];

/// Longest key of a guard.
pub const GUARD_KEY_BYTES_MAX: usize = 512;
/// Longest token of a guard.
pub const GUARD_TOKEN_CHARACTERS_MAX: usize = 64;
/// Longest fingerprint of a guard.
pub const GUARD_FINGERPRINT_BYTES_MAX: usize = 64;
/// Largest result that a guard remembers.
pub const GUARD_RESULT_BYTES_MAX: usize = 64 * 1024;
/// Shortest lease of a guard.
pub const GUARD_LEASE_MS_MIN: u64 = 1;
/// Shortest time that a guard's result or counter is remembered.
pub const GUARD_TTL_MS_MIN: u64 = 1_000;
/// Longest time that a guard's result or counter is remembered.
pub const GUARD_TTL_MS_MAX: u64 = 365 * DAY_MS;
/// How long a guard's result or counter is remembered unless asked for otherwise.
pub const GUARD_TTL_MS_DEFAULT: u64 = 7 * DAY_MS;
/// How long a fencing number outlives its last holder: twice the longest lease, so that a
/// holder whose lease ran out meets a higher number, not a fresh record.
pub const GUARD_FENCING_KEPT_MS: u64 = 2 * LEASE_MS_MAX;

/// Longest reason that a person gives for a decision by hand.
pub const REASON_CHARACTERS_MAX: usize = 1_024;

/// Most steps of a saga.
pub const SAGA_STEPS_COUNT_MAX: usize = 128;
/// Longest name of a step.
pub const SAGA_STEP_CHARACTERS_MAX: usize = 64;
/// Longest id of a saga that an application starts.
pub const SAGA_ID_CHARACTERS_MAX: usize = 128;
/// Largest encoded definition.
pub const SAGA_DEFINITION_BYTES_MAX: usize = 256 * 1024;
/// Largest input of a saga and largest output of a step, unless its definition says
/// otherwise.
pub const SAGA_PAYLOAD_BYTES_DEFAULT: u32 = 1024 * 1024;
/// The most that a definition may allow for one payload.
pub const SAGA_PAYLOAD_BYTES_MAX: u32 = 4 * 1024 * 1024;
/// Largest sum of everything that one saga keeps: its input, the outputs of its steps, and
/// inputs that people edited.
pub const SAGA_PAYLOADS_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Shortest time that one call of a participant may take before it counts as unanswered.
pub const SAGA_CALL_TIMEOUT_MS_MIN: u64 = 10;
/// Longest time that one call of a participant may take.
pub const SAGA_CALL_TIMEOUT_MS_MAX: u64 = 60 * MINUTE_MS;
/// How long one call of a participant may take unless its definition says otherwise.
pub const SAGA_CALL_TIMEOUT_MS_DEFAULT: u64 = 10_000;
/// First wait before a call is repeated.
pub const SAGA_RETRY_BASE_MS_DEFAULT: u64 = 200;
/// Longest wait before a call is repeated, by default.
pub const SAGA_RETRY_CAP_MS_DEFAULT: u64 = 30_000;
/// First wait before asking again whether ongoing work has ended.
pub const SAGA_ONGOING_BASE_MS_DEFAULT: u64 = 1_000;
/// Longest wait before asking again whether ongoing work has ended, by default.
pub const SAGA_ONGOING_CAP_MS_DEFAULT: u64 = 60_000;
/// The longest wait that a definition may ask for.
pub const SAGA_RETRY_MS_MAX: u64 = DAY_MS;
/// Calls without an outcome before an action that can still be undone is given up.
pub const SAGA_ATTEMPTS_COUNT_DEFAULT: u32 = 16;
/// Answers "ongoing" before an action that can still be undone is given up: about two days
/// of asking.
pub const SAGA_ONGOING_COUNT_DEFAULT: u32 = 2_880;
/// Longest deadline of a saga, and farthest that its start can be put off.
pub const SAGA_DEADLINE_MS_MAX: u64 = 365 * DAY_MS;
/// Most places that the result of a saga is delivered to.
pub const SAGA_DELIVERIES_COUNT_MAX: usize = 4;
/// Attempts to deliver a result before it is given up.
pub const SAGA_DELIVERY_ATTEMPTS_COUNT_MAX: u32 = 64;
/// Longest address of a participant.
pub const SAGA_ADDRESS_CHARACTERS_MAX: usize = 2_048;
/// Longest message of a participant about a failure; the rest is cut off.
pub const SAGA_MESSAGE_CHARACTERS_MAX: usize = 1_024;
/// Deepest nesting of an input mapping.
pub const SAGA_MAPPING_DEPTH_MAX: usize = 16;
/// Deepest nesting of sagas in sagas.
pub const SAGA_DEPTH_MAX: usize = 4;
/// Most sagas that an owner is told about at once because others did something to them.
pub const SAGA_ACTED_ON_COUNT_MAX: usize = 256;
/// Most sagas that an owner is told about at once because it has taken them over.
pub const SAGA_TAKEN_COUNT_MAX: usize = 1_024;
/// Most owners of the sagas of one data group that count as alive or still own something.
pub const SAGA_OWNERS_COUNT_MAX: usize = 4_096;
/// The longest time for which an owner can count as alive without saying so again.
pub const SAGA_LEASE_MS_MAX: u64 = 60 * MINUTE_MS;
/// Most of its latest events that are kept of a saga, for people.
pub const SAGA_HISTORY_COUNT_MAX: usize = 64;
/// Most bytes that these events take; the latest one is kept whatever it takes.
pub const SAGA_HISTORY_BYTES_MAX: usize = 16 * 1024;
/// Most sagas that are looked at for one page of a list.
pub const SAGA_EXAMINED_COUNT_MAX: usize = 10_000;
/// What people may still do to a saga that has recorded as many events as it may.
pub const SAGA_LAST_ACTS_COUNT_MAX: u64 = 1_000;

const MINUTE_MS: u64 = 60_000;
const DAY_MS: u64 = 24 * 60 * MINUTE_MS;
