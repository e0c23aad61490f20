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
  settings       = { GOOGLE_DOMAINS = "example.com" } # for google, which is the default
  project        = "my-project"
  project_number = "123456789012"
  environment    = "production"
  emails         = ["oncall@example.com"]
  domain         = "mcp.example.com"
}

run "autopilot_by_default" {
  assert {
    condition     = module.cluster.name == "erlmcp-cluster" && module.cluster.location == "us-central1"
    error_message = "The cluster has the guide's name."
  }
  assert {
    condition     = yamldecode(output.kustomization).namespace == "erlmcp"
    error_message = "The kustomization is YAML."
  }
  assert {
    condition     = contains(yamldecode(output.kustomization).configMapGenerator[0].literals, "PUBLIC_URL=https://mcp.example.com")
    error_message = "Pods know where clients reach them."
  }
  assert {
    condition     = startswith(output.taiea, "kubectl") && module.platform.events == null && length(yamldecode(output.kustomization).resources) == 3
    error_message = "The control plane is within the cluster, and reached by ${output.taiea}."
  }
}

run "standard_nodes" {
  variables {
    autopilot = false
    operators = { office = "192.0.2.0/24" }
  }
  assert {
    condition     = module.cluster.location == "us-central1-a"
    error_message = "A Standard cluster is in the guide's zone."
  }
  assert {
    condition     = output.cost.idle_month["GKE, nodes"] > 200
    error_message = "Nodes cost."
  }
}

run "beside_cloudrun" {
  variables {
    shares_cloudrun = true
    repository      = { url = "https://github.com/example/erlmcp.git", connection = "ours" }
  }
  assert {
    condition     = module.platform.backup == null && module.platform.certificate == null
    error_message = "Nothing is made twice."
  }
  assert {
    condition     = output.secrets["redis-url"] == "erlmcp-redis-url" && output.certificate_record == null
    error_message = "What is shared goes by the names that infra/cloudrun gives."
  }
  assert {
    condition     = module.platform.events == null && length(output.taiea_secrets) == 0 && output.taiea == "" && !strcontains(output.kustomization, "taiea")
    error_message = "There are two control planes."
  }
}

run "keys_and_policy" {
  variables {
    environment     = "staging"
    authentication  = "keys,oauth"
    policy          = "rules: []"
    settings        = { OAUTH_ISSUERS = "https://login.example.com" }
    emails          = ["oncall@example.com"]
    billing_account = "012345-6789AB-CDEF01"

    taiea_authentication = "oauth,keys"
    taiea_operators      = { "alice@example.com" = "admin" }
    taiea_settings       = { OAUTH_ISSUERS = "https://login.example.com" }
    taiea_url            = "https://taiea.example.com"
    webhook              = true
    publishers           = ["serviceAccount:billing@my-project.iam.gserviceaccount.com"]
    event_sources        = ["billing", "market"]
    unknown_tenants      = "deny"
    receipt_key          = "kms"
  }
  assert {
    condition     = output.taiea_secrets["api-keys"] == "erlmcp-staging-taiea-api-keys" && output.taiea_secrets["webhook-secrets"] == "erlmcp-staging-webhook-secrets"
    error_message = "The control plane's own are among its secrets: ${jsonencode(output.taiea_secrets)}."
  }
  assert {
    condition     = module.platform.events.topic == "erlmcp-staging-entitlements" && contains(yamldecode(output.kustomization).configMapGenerator[2].literals, "PUBSUB_AUDIENCE=https://taiea.example.com/v1/events/pubsub")
    error_message = "Events reach the control plane by its own address."
  }
  assert {
    condition     = contains(yamldecode(output.kustomization).configMapGenerator[2].literals, "PUBSUB_SERVICE_ACCOUNT=billing=erlmcp-staging-push@my-project.iam.gserviceaccount.com,market=erlmcp-staging-push@my-project.iam.gserviceaccount.com")
    error_message = "Publishers speak for their sources alone: ${join(" ", yamldecode(output.kustomization).configMapGenerator[2].literals)}."
  }
  assert {
    condition     = length([for l in yamldecode(output.kustomization).configMapGenerator[0].literals : l if startswith(l, "RECEIPT_KMS_KEY=")]) == 1
    error_message = "The pods sign receipts with a key in Cloud KMS: ${join(", ", yamldecode(output.kustomization).configMapGenerator[0].literals)}."
  }
  assert {
    condition     = output.secrets["api-keys"] == "erlmcp-staging-api-keys" && output.secrets["policy"] == "erlmcp-staging-policy"
    error_message = "Files are among the secrets."
  }
}

run "without_telemetry" {
  variables {
    telemetry = false
  }
  assert {
    condition     = strcontains(output.kustomization, "$patch") && contains(yamldecode(output.kustomization).configMapGenerator[0].literals, "OTEL_EXPORTER_OTLP_ENDPOINT=")
    error_message = "Pods have a collector."
  }
  assert {
    condition     = length(setsubtract(module.observability.alerts, ["CertificateExpires", "RedisFull"])) == 0 # the platform measures these
    error_message = "There are alerts on metrics that nobody sends."
  }
}

run "wrong_values_are_named" {
  command = plan
  variables {
    domain          = ""
    authentication  = "cloudrun"
    collector_image = "collector"
    nodes           = { machine_type = "n1-standard-2", min = 3, max = 1 }
    operators       = { everyone = "0.0.0.0/0" }
    zone            = "us-central1"

    publishers           = ["allUsers"]
    event_sources        = ["operator"]
    taiea_authentication = "cloudrun"
    taiea_operators      = { "everyone" = "admin" }
    taiea_settings       = { OPERATORS = "admin=me" }
    taiea_url            = "taiea.example.com"
    unknown_tenants      = "all"
  }
  expect_failures = [
    var.collector_image, var.domain, var.authentication, var.nodes, var.operators, var.zone,
    var.publishers, var.event_sources, var.taiea_authentication, var.taiea_operators, var.taiea_settings, var.taiea_url, var.unknown_tenants,
  ]
}

run "zone_of_another_region" {
  command = plan
  variables {
    zone = "europe-west1-b"
  }
  expect_failures = [var.zone]
}

run "a_webhook_needs_a_way_in" {
  command = plan
  variables {
    webhook = true
  }
  expect_failures = [var.webhook]
}

run "a_landing_zone_is_named_whole" {
  command = plan
  variables {
    network           = "ours"
    subnetwork        = "Ours"
    secondary_ranges  = { pods = "", services = "services" }
    secret_locations  = ["eu"]
    private_upstreams = ["10.1.0.1/33"]
    build_pool        = "private"
    log_sinks         = { elastic = "logs" }
  }
  expect_failures = [var.subnetwork, var.secondary_ranges, var.secret_locations, var.private_upstreams, var.build_pool, var.log_sinks]
}

run "a_key_is_in_the_region" {
  command = plan
  variables {
    kms_key = "projects/keys/locations/europe-west3/keyRings/ours/cryptoKeys/erlmcp"
  }
  expect_failures = [var.kms_key]
}
