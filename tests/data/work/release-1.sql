BEGIN TRANSACTION;
CREATE TABLE application_versions (
    version_id TEXT NOT NULL PRIMARY KEY,
    version_name TEXT NOT NULL UNIQUE,
    version_timestamp INTEGER NOT NULL DEFAULT (strftime('%s','now') * 1000),
    created_at INTEGER NOT NULL DEFAULT (strftime('%s','now') * 1000)
, "application_name" TEXT DEFAULT NULL);
INSERT INTO "application_versions" VALUES('150679a1-013d-4ed7-9791-a02d61933f6f','1',1795611717000,1795611717000,'fhir-aftercare');
CREATE TABLE dbos_migrations (version INTEGER NOT NULL PRIMARY KEY);
INSERT INTO "dbos_migrations" VALUES(125);
CREATE TABLE notifications (
    message_uuid TEXT NOT NULL DEFAULT (hex(randomblob(16))) PRIMARY KEY,
    destination_uuid TEXT NOT NULL,
    topic TEXT,
    message TEXT NOT NULL,
    created_at_epoch_ms INTEGER NOT NULL DEFAULT (strftime('%s','now') * 1000), "serialization" TEXT DEFAULT NULL, "consumed" BOOLEAN NOT NULL DEFAULT FALSE, consumed_by_function_id INTEGER,
    FOREIGN KEY (destination_uuid) REFERENCES workflow_status(workflow_uuid) 
        ON UPDATE CASCADE ON DELETE CASCADE
);
CREATE TABLE "operation_outputs" (
    workflow_uuid TEXT NOT NULL,
    function_id INTEGER NOT NULL,
    function_name TEXT NOT NULL DEFAULT '',
    output TEXT,
    error TEXT,
    child_workflow_id TEXT,
    started_at_epoch_ms INTEGER,
    completed_at_epoch_ms INTEGER,
    serialization TEXT,
    application_name TEXT DEFAULT NULL,
    retention_timestamp INTEGER NOT NULL DEFAULT (strftime('%s','now') * 1000),
    PRIMARY KEY (workflow_uuid, function_id)
);
CREATE TABLE queues (
    queue_id TEXT PRIMARY KEY DEFAULT (hex(randomblob(16))),
    name TEXT NOT NULL UNIQUE,
    concurrency INTEGER,
    worker_concurrency INTEGER,
    rate_limit_max INTEGER,
    rate_limit_period_sec REAL,
    priority_enabled BOOLEAN NOT NULL DEFAULT FALSE,
    partition_queue BOOLEAN NOT NULL DEFAULT FALSE,
    polling_interval_sec REAL NOT NULL DEFAULT 1.0,
    created_at INTEGER NOT NULL DEFAULT (strftime('%s','now') * 1000),
    updated_at INTEGER NOT NULL DEFAULT (strftime('%s','now') * 1000)
, "application_name" TEXT DEFAULT NULL, "partition_concurrency" INTEGER DEFAULT NULL, "partition_worker_concurrency" INTEGER DEFAULT NULL, "partition_rate_limit_max" INTEGER DEFAULT NULL, "partition_rate_limit_period_sec" REAL DEFAULT NULL);
INSERT INTO "queues" VALUES('CD7AA2707ED83A635029BE3875943CB1','work.harbor',NULL,4,NULL,NULL,1,0,0.02,1795611717000,1795611718710,'fhir-aftercare',NULL,NULL,NULL,NULL);
CREATE TABLE streams (
    workflow_uuid TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    "offset" INTEGER NOT NULL, function_id INTEGER NOT NULL DEFAULT 0, "serialization" TEXT DEFAULT NULL,
    PRIMARY KEY (workflow_uuid, key, "offset"),
    FOREIGN KEY (workflow_uuid) REFERENCES workflow_status(workflow_uuid) 
        ON UPDATE CASCADE ON DELETE CASCADE
);
CREATE TABLE workers (
	executor VARCHAR(200) NOT NULL, 
	beat FLOAT NOT NULL, 
	PRIMARY KEY (executor)
);
CREATE TABLE workflow_events (
    workflow_uuid TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL, "serialization" TEXT DEFAULT NULL,
    PRIMARY KEY (workflow_uuid, key),
    FOREIGN KEY (workflow_uuid) REFERENCES workflow_status(workflow_uuid) 
        ON UPDATE CASCADE ON DELETE CASCADE
);
CREATE TABLE workflow_events_history (
    workflow_uuid TEXT NOT NULL,
    function_id INTEGER NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL, "serialization" TEXT DEFAULT NULL,
    PRIMARY KEY (workflow_uuid, function_id, key),
    FOREIGN KEY (workflow_uuid) REFERENCES workflow_status(workflow_uuid)
        ON UPDATE CASCADE ON DELETE CASCADE
);
CREATE TABLE workflow_input (
    workflow_uuid TEXT NOT NULL PRIMARY KEY,
    inputs TEXT,
    retention_timestamp INTEGER NOT NULL DEFAULT (strftime('%s','now') * 1000)
);
INSERT INTO "workflow_input" VALUES('refused','{"namedArgs":{},"positionalArgs":["do","harbor",{"encounter":"Encounter/1"},{"work":"refused","n":1,"waited":0.0}]}',1795611717000);
INSERT INTO "workflow_input" VALUES('refused-later','{"namedArgs":{},"positionalArgs":["do","harbor",{"encounter":"Encounter/2"},{"work":"refused-later","n":1,"waited":0.0}]}',1795611717000);
INSERT INTO "workflow_input" VALUES('refused-later#2','{"namedArgs":{},"positionalArgs":["do","harbor",{"encounter":"Encounter/2"},{"work":"refused-later","n":2,"waited":0.070185,"code":"fhir-broken","outcome":[]}]}',1795611717000);
INSERT INTO "workflow_input" VALUES('done','{"namedArgs":{},"positionalArgs":["do","harbor",{"encounter":"Encounter/3"},{"work":"done","n":1,"waited":0.0}]}',1795611718000);
INSERT INTO "workflow_input" VALUES('put-off','{"namedArgs":{},"positionalArgs":["do","harbor",{"encounter":"Encounter/4"},{"work":"put-off","n":1,"waited":0.0,"budget":3153600000.0}]}',1795611718000);
INSERT INTO "workflow_input" VALUES('put-off#2','{"namedArgs":{},"positionalArgs":["do","harbor",{"encounter":"Encounter/4"},{"work":"put-off","n":2,"waited":1769160633.696554,"budget":3153600000.0,"code":"fhir-broken","outcome":[]}]}',1795611718000);
INSERT INTO "workflow_input" VALUES('begun','{"namedArgs":{},"positionalArgs":["do","harbor",{"encounter":"Encounter/5"},{"work":"begun","n":1,"waited":0.0}]}',1795611718000);
INSERT INTO "workflow_input" VALUES('not-begun','{"namedArgs":{},"positionalArgs":["do","harbor",{"encounter":"Encounter/6"},{"work":"not-begun","n":1,"waited":0.0}]}',1795611718000);
CREATE TABLE workflow_output (
    workflow_uuid TEXT NOT NULL PRIMARY KEY,
    output TEXT,
    error TEXT,
    retention_timestamp INTEGER NOT NULL DEFAULT (strftime('%s','now') * 1000)
);
INSERT INTO "workflow_output" VALUES('refused',NULL,'{"name":"Refused","message":"fhir-rejected","code":"fhir-rejected","data":{"outcome":[{"severity":"error","code":"invariant","details":["care-1"]}]}}',1795611717000);
INSERT INTO "workflow_output" VALUES('refused-later','{"again":2}',NULL,1795611717000);
INSERT INTO "workflow_output" VALUES('refused-later#2',NULL,'{"name":"Refused","message":"fhir-rejected","code":"fhir-rejected","data":{"outcome":[{"severity":"error","code":"invariant","details":["care-1"]}]}}',1795611718000);
INSERT INTO "workflow_output" VALUES('done','{"outcome":"ok"}',NULL,1795611718000);
INSERT INTO "workflow_output" VALUES('put-off','{"again":2}',NULL,1795611718000);
CREATE TABLE workflow_schedules (
    schedule_id TEXT PRIMARY KEY,
    schedule_name TEXT NOT NULL UNIQUE,
    workflow_name TEXT NOT NULL,
    workflow_class_name TEXT,
    schedule TEXT NOT NULL,
    status TEXT NOT NULL DEFAULT 'ACTIVE',
    context TEXT NOT NULL
, "last_fired_at" TEXT DEFAULT NULL, "automatic_backfill" BOOLEAN NOT NULL DEFAULT FALSE, "cron_timezone" TEXT DEFAULT NULL, "queue_name" TEXT DEFAULT NULL, "application_name" TEXT DEFAULT NULL);
CREATE TABLE workflow_status (
    workflow_uuid TEXT PRIMARY KEY,
    status TEXT,
    name TEXT,
    authenticated_user TEXT,
    assumed_role TEXT,
    authenticated_roles TEXT,
    request TEXT,
    output TEXT,
    error TEXT,
    executor_id TEXT,
    created_at INTEGER NOT NULL DEFAULT (strftime('%s','now') * 1000),
    updated_at INTEGER NOT NULL DEFAULT (strftime('%s','now') * 1000),
    application_version TEXT,
    application_id TEXT,
    class_name TEXT DEFAULT NULL,
    config_name TEXT DEFAULT NULL,
    recovery_attempts INTEGER DEFAULT 0,
    queue_name TEXT,
    workflow_timeout_ms INTEGER,
    workflow_deadline_epoch_ms INTEGER,
    inputs TEXT,
    started_at_epoch_ms INTEGER,
    deduplication_id TEXT,
    priority INTEGER NOT NULL DEFAULT 0
, queue_partition_key TEXT, forked_from TEXT, "owner_xid" TEXT DEFAULT NULL, "parent_workflow_id" TEXT DEFAULT NULL, "serialization" TEXT DEFAULT NULL, "delay_until_epoch_ms" BIGINT DEFAULT NULL, "was_forked_from" BOOLEAN NOT NULL DEFAULT FALSE, "rate_limited" BOOLEAN NOT NULL DEFAULT FALSE, "completed_at" BIGINT, "attributes" TEXT, "schedule_name" TEXT, "debounce_deadline_epoch_ms" BIGINT DEFAULT NULL, "is_debounced" BOOLEAN NOT NULL DEFAULT FALSE, "application_name" TEXT DEFAULT NULL, "creator_xid" TEXT DEFAULT NULL);
INSERT INTO "workflow_status" VALUES('refused','ERROR','attempt',NULL,NULL,NULL,NULL,NULL,NULL,'previous',1795611717000,1795611717000,'1',NULL,NULL,NULL,1,'work.harbor',NULL,NULL,NULL,1795611717000,NULL,0,NULL,NULL,NULL,NULL,'portable_json',NULL,0,0,1795611717000,'null',NULL,NULL,0,'fhir-aftercare','c9f6f95e-1b27-46ec-99bc-6e9896d112ae');
INSERT INTO "workflow_status" VALUES('refused-later','SUCCESS','attempt',NULL,NULL,NULL,NULL,NULL,NULL,'previous',1795611717000,1795611717000,'1',NULL,NULL,NULL,1,'work.harbor',NULL,NULL,NULL,1795611717000,NULL,0,NULL,NULL,NULL,NULL,'portable_json',NULL,0,0,1795611717000,'null',NULL,NULL,0,'fhir-aftercare','7a4c519f-a9bf-4ac2-8b37-a9a57d9061b0');
INSERT INTO "workflow_status" VALUES('refused-later#2','ERROR','attempt',NULL,NULL,NULL,NULL,NULL,NULL,'previous',1795611717000,1795611718000,'1',NULL,NULL,NULL,1,'work.harbor',NULL,NULL,NULL,1795611718000,NULL,0,NULL,NULL,NULL,NULL,'portable_json',1795611717752,0,0,1795611718000,'null',NULL,NULL,0,'fhir-aftercare','34f9c0c5-f0fc-4314-afea-2a1ca84ebc4b');
INSERT INTO "workflow_status" VALUES('done','SUCCESS','attempt',NULL,NULL,NULL,NULL,NULL,NULL,'previous',1795611718000,1795611718000,'1',NULL,NULL,NULL,1,'work.harbor',NULL,NULL,NULL,1795611718000,NULL,0,NULL,NULL,NULL,NULL,'portable_json',NULL,0,0,1795611718000,'null',NULL,NULL,0,'fhir-aftercare','4dc4fcba-c867-401f-b9b0-5cbf5d7e8800');
INSERT INTO "workflow_status" VALUES('put-off','SUCCESS','attempt',NULL,NULL,NULL,NULL,NULL,NULL,'previous',1795611718000,1795611718000,'1',NULL,NULL,NULL,1,'work.harbor',NULL,NULL,NULL,1795611718000,NULL,0,NULL,NULL,NULL,NULL,'portable_json',NULL,0,0,1795611718000,'null',NULL,NULL,0,'fhir-aftercare','6f5f56d0-c3f0-47d6-ae47-1f3ff3d0ccfc');
INSERT INTO "workflow_status" VALUES('put-off#2','DELAYED','attempt',NULL,NULL,NULL,NULL,NULL,NULL,NULL,1795611718000,1795611718000,'1',NULL,NULL,NULL,0,'work.harbor',NULL,NULL,NULL,NULL,NULL,0,NULL,NULL,NULL,NULL,'portable_json',3564772352577,0,0,NULL,'null',NULL,NULL,0,'fhir-aftercare','b055ef97-52fe-4588-b3d5-322ae3617697');
INSERT INTO "workflow_status" VALUES('begun','PENDING','attempt',NULL,NULL,NULL,NULL,NULL,NULL,'previous',1795611718000,1795611718000,'1',NULL,NULL,NULL,1,'work.harbor',NULL,NULL,NULL,1795611718000,NULL,0,NULL,NULL,'06f11866-400c-47c1-b42f-221d349ce373',NULL,'portable_json',NULL,0,0,NULL,'null',NULL,NULL,0,'fhir-aftercare','14ebae81-6f72-4d7c-b011-40635fe815ef');
INSERT INTO "workflow_status" VALUES('not-begun','ENQUEUED','attempt',NULL,NULL,NULL,NULL,NULL,NULL,NULL,1795611718000,1795611718000,'1',NULL,NULL,NULL,0,'work.harbor',NULL,NULL,NULL,NULL,NULL,0,NULL,NULL,NULL,NULL,'portable_json',NULL,0,0,NULL,'null',NULL,NULL,0,'fhir-aftercare','2346206e-d78d-449b-8c82-b2377a37bd48');
CREATE INDEX workflow_status_created_at_index ON workflow_status (created_at);
CREATE INDEX idx_workflow_topic ON notifications (destination_uuid, topic);
CREATE INDEX "idx_workflow_status_delayed" ON "workflow_status" ("delay_until_epoch_ms") WHERE status = 'DELAYED';
CREATE INDEX "idx_workflow_status_forked_from" ON "workflow_status" ("forked_from") WHERE "forked_from" IS NOT NULL;
CREATE INDEX "idx_workflow_status_parent_workflow_id" ON "workflow_status" ("parent_workflow_id") WHERE "parent_workflow_id" IS NOT NULL;
CREATE UNIQUE INDEX "uq_workflow_status_dedup_id" ON "workflow_status" ("queue_name", "deduplication_id") WHERE "deduplication_id" IS NOT NULL;
CREATE INDEX "idx_workflow_status_pending" ON "workflow_status" ("created_at") WHERE "status" = 'PENDING';
CREATE INDEX "idx_workflow_status_failed" ON "workflow_status" ("status", "created_at") WHERE "status" IN ('ERROR', 'CANCELLED', 'MAX_RECOVERY_ATTEMPTS_EXCEEDED');
CREATE INDEX "idx_workflow_status_rate_limited" ON "workflow_status" ("queue_name", "started_at_epoch_ms") WHERE "rate_limited" = TRUE;
CREATE INDEX "idx_workflow_status_completed_at" ON "workflow_status" ("completed_at") WHERE "completed_at" IS NOT NULL;
CREATE INDEX "idx_workflow_status_started_at" ON "workflow_status" ("started_at_epoch_ms") WHERE "started_at_epoch_ms" IS NOT NULL;
CREATE INDEX "idx_workflow_status_schedule_name" ON "workflow_status" ("schedule_name") WHERE "schedule_name" IS NOT NULL;
CREATE UNIQUE INDEX "uq_application_versions_owner_version"
    ON application_versions ("application_name", "version_name")
    WHERE "application_name" IS NOT NULL;
CREATE UNIQUE INDEX "uq_application_versions_unclaimed_version"
    ON application_versions ("version_name")
    WHERE "application_name" IS NULL;
CREATE INDEX idx_workflow_input_retention
    ON workflow_input (retention_timestamp);
CREATE INDEX idx_workflow_output_retention
    ON workflow_output (retention_timestamp);
CREATE INDEX idx_operation_outputs_retention
    ON operation_outputs (retention_timestamp);
CREATE INDEX "idx_workflow_status_in_flight_v2" ON "workflow_status" ("queue_name", "status", "priority", "created_at", "application_name") WHERE "status" IN ('ENQUEUED', 'PENDING');
CREATE INDEX "idx_workflow_status_partition_dequeue_v3" ON "workflow_status" ("queue_name", "status", "queue_partition_key", "priority", "created_at", "workflow_uuid", "application_name") WHERE "status" IN ('ENQUEUED', 'PENDING') AND "queue_partition_key" IS NOT NULL;
CREATE INDEX "idx_operation_outputs_completed_at_function_name_v2" ON "operation_outputs" ("completed_at_epoch_ms", "function_name", "application_name");
CREATE INDEX "idx_workflow_status_deadline" ON "workflow_status" ("workflow_deadline_epoch_ms") WHERE "status" IN ('ENQUEUED', 'PENDING', 'DELAYED') AND "workflow_deadline_epoch_ms" IS NOT NULL;
CREATE INDEX "idx_application_versions_timestamp" ON "application_versions" ("version_timestamp" DESC);
CREATE INDEX "idx_application_versions_owner_timestamp" ON "application_versions" ("application_name", "version_timestamp" DESC);
COMMIT;
