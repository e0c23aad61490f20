# Each combination of variables that the documents offer, without a cloud.

mock_provider "google" {
  mock_resource "google_redis_instance" {
    defaults = {
      host            = "10.0.0.3"
      port            = 6378
      auth_string     = "of-the-mock"
      server_ca_certs = [{ cert = "-----BEGIN CERTIFICATE-----", create_time = "", expire_time = "", serial_number = "", sha1_fingerprint = "" }]
    }
  }
  mock_resource "google_service_account" {
    defaults = {
      name   = "projects/p/serviceAccounts/erlmcp@p.iam.gserviceaccount.com"
      id     = "projects/p/serviceAccounts/erlmcp@p.iam.gserviceaccount.com"
      email  = "erlmcp@p.iam.gserviceaccount.com"
      member = "serviceAccount:erlmcp@p.iam.gserviceaccount.com"
    }
  }
  mock_resource "google_certificate_manager_dns_authorization" {
    defaults = {
      domain              = "mcp.example.com"
      dns_resource_record = [{ name = "_acme-challenge.mcp.example.com.", type = "CNAME", data = "x.authorize.certificatemanager.goog." }]
    }
  }
}

mock_provider "random" {}

variables {
  project        = "my-project"
  project_number = "123456789012"
  environment    = "production"
  emails         = ["oncall@example.com"]
}

run "private_by_default" {
  assert {
    condition     = module.service.name == "erlmcp"
    error_message = "The service has the guide's name."
  }
  assert {
    condition     = output.url == "https://erlmcp-123456789012.us-central1.run.app/mcp"
    error_message = "Its URL is ${output.url}."
  }
  assert {
    condition     = jsondecode(output.client).mcpServers.erlmcp.url == "http://localhost:8081/mcp"
    error_message = "A private service is reached through the proxy."
  }
  assert {
    condition     = strcontains(join(" ", output.stays), "protected")
    error_message = "Production says that it is protected."
  }
  assert {
    condition     = output.cost.idle_month.total > 0 && output.cost.million_calls.total > 0
    error_message = "The cost table is empty."
  }
  assert {
    condition     = length(module.observability.alerts) == 22
    error_message = "Alerts are ${join(", ", module.observability.alerts)}."
  }
  assert {
    condition     = module.control["taiea"].name == "erlmcp-taiea" && output.taiea == "https://erlmcp-taiea-123456789012.us-central1.run.app"
    error_message = "The control plane is ${module.control["taiea"].name} at ${output.taiea}."
  }
  assert {
    condition     = output.events.topic == "erlmcp-entitlements" && output.events.dead_letters == "erlmcp-entitlements-dead"
    error_message = "Events go to ${output.events.topic}, and those that are not taken to ${output.events.dead_letters}."
  }
  assert {
    condition     = length(setintersection(keys(merge(values(module.platform.secrets)...)), ["receipt-key", "webhook-secrets", "taiea-api-keys"])) == 1
    error_message = "Without a webhook and keys it has the receipts' key alone of ${join(", ", keys(merge(values(module.platform.secrets)...)))}."
  }
}

run "operators_publishers_a_webhook_and_an_existing_connection" {
  variables {
    repository           = { url = "https://github.com/example/erlmcp.git", connection = "ours" }
    taiea_operators      = { "alice@example.com" = "admin", "ci@my-project.iam.gserviceaccount.com" = "operator" }
    taiea_authentication = "oauth,keys"
    taiea_settings       = { OAUTH_ISSUERS = "https://login.example.com" }
    publishers           = ["serviceAccount:billing@my-project.iam.gserviceaccount.com"]
    event_sources        = ["billing", "market"]
    webhook              = true
    receipt_key          = "kms"
    unknown_tenants      = "deny"
  }
  assert {
    condition     = length(setintersection(keys(merge(values(module.platform.secrets)...)), ["receipt-key", "webhook-secrets", "taiea-api-keys"])) == 2
    error_message = "The webhook and the operators' keys have secrets: ${join(", ", keys(merge(values(module.platform.secrets)...)))}."
  }
  assert {
    condition     = module.platform.events.publisher == "billing=erlmcp-push@my-project.iam.gserviceaccount.com,market=erlmcp-push@my-project.iam.gserviceaccount.com"
    error_message = "Publishers speak for their sources alone: ${module.platform.events.publisher}."
  }
  assert {
    condition     = endswith(module.platform.settings.RECEIPT_KMS_KEY, "/cryptoKeyVersions/1")
    error_message = "Receipts are signed with a version of a key in Cloud KMS, not ${module.platform.settings.RECEIPT_KMS_KEY}."
  }
}

run "operators_say_who_they_are" {
  command = plan
  variables {
    taiea_authentication = "anonymous"
  }
  expect_failures = [var.taiea_authentication]
}

run "a_webhook_is_called_from_outside" {
  command = plan
  variables {
    ingress = "INGRESS_TRAFFIC_INTERNAL_ONLY"
    webhook = true
  }
  expect_failures = [var.webhook]
}

run "releases_bring_what_runs" {
  variables {
    collector_image = "us-docker.pkg.dev/collectors/otelcol:1.0.0"
    instances       = { min = 1, max = 10 }
  }
  assert {
    condition     = yamldecode(module.service.manifest).spec.template.spec.containers[1].image == "us-docker.pkg.dev/collectors/otelcol:1.0.0"
    error_message = "The collector is not in what a release brings."
  }
  assert {
    condition     = yamldecode(module.service.manifest).metadata.annotations["run.googleapis.com/minScale"] == "1"
    error_message = "Instances are kept for the service, and not for each revision."
  }
  assert {
    condition     = output.release.pipelines == ["erlmcp", "erlmcp-ops", "erlmcp-taiea"] && output.release.bucket == "my-project-erlmcp-releases"
    error_message = "Releases go to ${join(", ", output.release.pipelines)} and find in ${output.release.bucket} what they bring."
  }
}

run "another_environment" {
  variables {
    environment = "staging"
  }
  assert {
    condition     = module.service.name == "erlmcp-staging" && output.image == "us-central1-docker.pkg.dev/my-project/erlmcp-staging/erlmcp"
    error_message = "Environments share no names."
  }
  assert {
    condition     = !strcontains(join(" ", output.stays), "protected")
    error_message = "Only production is protected."
  }
}

run "public_with_keys" {
  variables {
    public         = true
    authentication = "keys"
    policy         = "rules:\n- name: none\n  when: \"false\"\n  then: deny\n"
  }
  assert {
    condition     = jsondecode(output.client).mcpServers.erlmcp.headers.Authorization == "Bearer $${ERLMCP_TOKEN}"
    error_message = "A public service is called with a key."
  }
}

run "public_never_trusts_unverified_tokens" {
  command = plan
  variables {
    public = true
  }
  expect_failures = [var.authentication]
}

run "own_domain" {
  variables {
    domain         = "mcp.example.com"
    public         = true
    authentication = "oauth"
    settings       = { OAUTH_ISSUERS = "https://login.example.com" }
  }
  assert {
    condition     = output.url == "https://mcp.example.com/mcp" && output.certificate_record.type == "CNAME"
    error_message = "A domain has its URL and its record."
  }
}

run "internal_and_kept_warm" {
  variables {
    ingress   = "INGRESS_TRAFFIC_INTERNAL_ONLY"
    instances = { min = 2, max = 10 }
    billing   = "request"
    cpu       = "2"
    memory    = "2Gi"
  }
  assert {
    # 2 × 2 628 000 s × (2.5 CPU + 2.25 GiB) × 0.0000025, as they serve nothing
    condition     = abs(output.cost.idle_month["Cloud Run, instances that are kept"] - 62.415) < 0.006 && !contains(keys(output.cost.idle_month), "Cloud Run, answers to uptime checks")
    error_message = "Kept instances cost ${output.cost.idle_month["Cloud Run, instances that are kept"]}."
  }
}

run "released_by_a_tag" {
  variables {
    repository      = { url = "https://github.com/example/erlmcp.git", github_installation = 1234, github_token_secret = "github-token" }
    emails          = ["oncall@example.com"]
    billing_account = "012345-6789AB-CDEF01"
  }
  assert {
    condition     = module.release[0].trigger == "erlmcp-release"
    error_message = "There is a trigger."
  }
}

run "without_telemetry" {
  variables {
    telemetry = false
    billing   = "request"
  }
  assert {
    condition     = module.observability.alerts == ["BackupsFail", "BackupsOld", "ControlPlaneFails", "EventsNotTaken", "RedisFull"] # the platform measures these
    error_message = "There are alerts on metrics that nobody sends."
  }
}

run "try" {
  variables {
    environment = "staging"
    size        = "try"
  }
  assert {
    condition     = module.platform.network == null && keys(merge(values(module.platform.secrets)...)) == ["keys", "receipt-key", "taiea-keys"]
    error_message = "To try it there is no Redis, no network, and no secret but the keys: ${join(", ", keys(merge(values(module.platform.secrets)...)))}."
  }
  assert {
    condition     = !strcontains(module.service.manifest, "network-interfaces") && !strcontains(module.service.manifest, "REDIS") && strcontains(module.service.manifest, "GOVERNOR_SCOPE")
    error_message = "The service that counts by itself has ${module.service.manifest}."
  }
  assert {
    condition     = !contains(module.observability.alerts, "RedisFull") && strcontains(module.control["taiea"].manifest, "GOVERNOR_SCOPE") && !strcontains(join(" ", output.stays), "peering")
    error_message = "The control plane has no Redis either, none is watched, and there is no peering that stays."
  }
}

run "try_with_redis_is_a_fleet" {
  variables {
    environment     = "staging"
    size            = "try"
    redis_memory_gb = 2
    instances       = { min = 0, max = 3 }
  }
  assert {
    condition     = module.platform.network != null && !strcontains(module.service.manifest, "GOVERNOR_SCOPE")
    error_message = "A variable of its own comes before the size."
  }
  assert {
    condition     = output.cost.idle_month["Memorystore for Redis"] == 71.54 && !contains(keys(output.cost.idle_month), "Cloud NAT")
    error_message = "2 GB of Redis cost 2 × 730 × 0.049: ${jsonencode(output.cost.idle_month)}."
  }
}

run "the_first_release_with_telemetry_is_not_judged" {
  variables {
    environment = "staging"
    size        = "small"
    judged      = false
  }
  assert {
    condition     = length(yamldecode(module.service.manifest).spec.template.spec.containers) == 1 && output.cost.release["Cloud Deploy"] == 0.06
    error_message = "It has no collector, and takes no bake: ${jsonencode(output.cost.release)}."
  }
}

run "judged_by_metrics" {
  command = plan
  variables {
    telemetry = false
    judged    = true
  }
  expect_failures = [var.judged]
}

run "judged_where_versions_count_together" {
  command = plan
  variables {
    environment = "staging"
    size        = "try"
    judged      = true
  }
  expect_failures = [var.judged]
}

run "emails_are_addresses" {
  command = plan
  variables {
    emails = ["me"]
  }
  expect_failures = [var.emails]
}

run "redis_has_whole_gigabytes" {
  command = plan
  variables {
    redis_memory_gb = 0.5
  }
  expect_failures = [var.redis_memory_gb]
}

run "several_instances_need_redis" {
  command = plan
  variables {
    size      = "try"
    instances = { min = 0, max = 2 }
  }
  expect_failures = [var.redis_memory_gb]
}

run "no_redis_is_one_instance" {
  command = plan
  variables {
    redis_memory_gb = 0
  }
  expect_failures = [var.redis_memory_gb]
}

run "size_is_one_of_three" {
  command = plan
  variables {
    size = "large"
  }
  expect_failures = [var.size]
}

run "counting_by_itself_follows_from_the_size" {
  command = plan
  variables {
    size     = "try"
    settings = { GOVERNOR_SCOPE = "fleet" }
  }
  expect_failures = [var.settings]
}

run "authentication_is_of_a_list" {
  command = plan
  variables {
    authentication = "none"
  }
  expect_failures = [var.authentication]
}

run "wrong_values_are_named" {
  command = plan
  variables {
    project                   = "My Project"
    project_number            = "my-project"
    environment               = "Pre-Production"
    backup_days               = 0
    bake                      = 30
    billing                   = "free"
    billing_account           = "mine"
    collector_image           = "collector"
    concurrency               = 0
    cpu                       = "3"
    domain                    = "https://mcp.example.com"
    backups                   = { retention_days = 0.5 }
    people                    = { on_call = ["oncall@example.com"] }
    databases                 = ["Restored"]
    firestore_location        = "here"
    instances                 = { min = 5, max = 1 }
    invokers                  = ["allUsers"]
    memory                    = "512Mi"
    monthly_budget            = 0
    policy                    = "deny everything"
    ranges                    = { nodes = "all", pods = "all", services = "all" }
    receipt_key_version       = 0
    region                    = "Iowa"
    repository                = { url = "git@github.com:example/erlmcp" }
    settings                  = { REDIS_URL = "redis://elsewhere" }
    timeout                   = 7200
    calls_per_instance_second = 0
    publishers                = ["allUsers"]
    event_sources             = ["Billing"]
    taiea_operators           = { "alice@example.com" = "owner" }
    taiea_settings            = { WEBHOOK_SECRETS = "whsec_" }
    unknown_tenants           = "some"
  }
  expect_failures = [
    var.project, var.project_number, var.environment, var.backup_days, var.bake, var.billing, var.billing_account,
    var.collector_image, var.concurrency, var.cpu, var.domain, var.backups, var.people, var.databases, var.firestore_location, var.instances, var.invokers, var.memory,
    var.monthly_budget, var.policy, var.ranges, var.receipt_key_version, var.region, var.repository, var.settings, var.timeout,
    var.calls_per_instance_second, var.publishers, var.event_sources, var.taiea_operators, var.taiea_settings, var.unknown_tenants,
  ]
}

run "somebody_is_told_of_what_is_critical" {
  command = plan
  variables {
    emails = []
  }
  expect_failures = [var.emails]
}

run "a_database_is_made_before_it_serves" {
  command = plan
  variables {
    database = "erlmcp-restored"
  }
  expect_failures = [var.database]
}

run "another_database_serves" {
  variables {
    databases = ["erlmcp-restored"]
    database  = "erlmcp-restored"
  }
  assert {
    condition     = alltrue([for m in [module.service.manifest, module.job[0].manifest] : strcontains(m, "\"value\": \"erlmcp-restored,erlmcp-restored-usage,erlmcp-restored-receipts\"")])
    error_message = "Not all that runs uses it."
  }
  assert {
    condition     = module.platform.databases[0] == "erlmcp-restored"
    error_message = "${module.platform.databases[0]} serves."
  }
}

run "an_environment_of_one_database" {
  command = plan
  variables {
    databases_apart = false
    databases       = ["erlmcp-restored"]
  }
  assert {
    condition     = module.platform.settings.FIRESTORE_DATABASE == "erlmcp"
    error_message = "${module.platform.settings.FIRESTORE_DATABASE} serves."
  }
}

run "channels_have_names" {
  command = plan
  variables {
    channels = { warning = ["my-channel"] }
  }
  expect_failures = [var.channels]
}

run "a_balancer_needs_a_domain" {
  command = plan
  variables {
    ingress = "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER"
  }
  expect_failures = [var.ingress]
}

run "ingress_is_one_of_three" {
  command = plan
  variables {
    ingress = "ALL"
  }
  expect_failures = [var.ingress]
}

run "a_landing_zone_is_named_whole" {
  command = plan
  variables {
    network          = "ours"
    subnetwork       = "Ours"
    secret_locations = ["eu"]
    build_pool       = "private"
    log_sinks        = { elastic = "logs" }
    balancer_rate    = 6000
  }
  expect_failures = [var.subnetwork, var.secret_locations, var.build_pool, var.log_sinks, var.balancer_rate]
}

run "not_everything_is_private_and_a_key_has_a_name" {
  command = plan
  variables {
    kms_key           = "ours"
    private_upstreams = ["0.0.0.0/0"]
  }
  expect_failures = [var.kms_key, var.private_upstreams]
}

run "a_network_leads_to_what_is_private" {
  command = plan
  variables {
    environment       = "staging"
    size              = "try"
    private_upstreams = ["10.1.0.0/16"]
  }
  expect_failures = [var.private_upstreams]
}

run "a_network_has_a_subnetwork" {
  command = plan
  variables {
    network = "ours"
  }
  expect_failures = [var.network]
}

run "a_network_of_another_project_is_named" {
  command = plan
  variables {
    network_project = "host"
  }
  expect_failures = [var.network_project]
}

run "what_a_key_encrypts_is_where_the_key_is" {
  command = plan
  variables {
    kms_key            = "projects/keys/locations/us-central1/keyRings/ours/cryptoKeys/erlmcp"
    firestore_location = "nam5"
  }
  expect_failures = [var.kms_key]
}
