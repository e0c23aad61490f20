# Whether it answers, seen from outside; what its own metrics say, by the rules and the dashboard in infra/observability; and
# what it costs.

locals {
  data     = "${path.module}/../../observability"
  runbooks = "${path.module}/../../docs/runbooks"

  # The files speak of production on Cloud Run and GKE at once. Environments that share a project go by their own names.
  group = yamldecode(replace(replace(replace(file("${local.data}/alerts.yaml"),
    "/job=(~?)\"erlmcp/", "job=$1\"${var.name}"),
    "service_name=\"erlmcp\"", "service_name=\"${var.service}\""),
    "cluster_name=\"erlmcp-cluster\"", "cluster_name=\"${var.cluster}\""),
  ).groups[0]
  # What the platform itself measures is there without the server's metrics. A regular expression is between slashes.
  platform = yamldecode(replace(replace(file("${local.data}/platform.yaml"), "/\"erlmcp(-|\")/", "\"${var.platform}$1"), "instances/erlmcp\"", "instances/${var.platform}\"")).groups[0]
  rules = merge({ for r in local.group.rules : r.alert => merge(r, { group = local.group }) if var.telemetry && var.alerting },
  { for r in local.platform.rules : r.alert => merge(r, { group = local.platform }) if contains(var.watched, r.alert) })
  # What the alerts on the objective hold the server to, so that the console shows the same: the types of errors and the part of calls that may
  # have them; the part of calls that must be quick, and the seconds.
  burns = one([for r in local.group.rules : r.expr if r.alert == "AvailabilityBurnsFast"])
  slow  = one([for r in local.group.rules : r.expr if r.alert == "OverheadHigh"])
  objective = {
    faults  = regex("type=~\"([^\"]+)\"", local.burns)[0]
    budget  = tonumber(regex("14\\.4 \\* ([0-9.]+)", local.burns)[0])
    quick   = tonumber(regex("histogram_quantile\\(([0-9.]+)", local.slow)[0])
    seconds = tonumber(regex("> ([0-9.]+)", local.slow)[0])
  }
  series = "resource.type=\"prometheus_target\" AND resource.labels.job=\"${var.name}\" AND metric.type=\"prometheus.googleapis.com"
  # Existing channels by severity, and everyone who is told of everything.
  told = { for severity, ids in var.channels : severity => concat(ids, [for c in google_monitoring_notification_channel.email : c.id]) }
  # How rollouts go, by who is told of that.
  releases = merge({ failed = { summary = "a release failed", types = ["FAILED"], severity = "WARNING", runbook = "ReleaseFailed", told = local.told.warning } },
    length(var.channels.info) == 0 ? {} : { goes = {
      summary = "a release goes on", types = ["IN_PROGRESS", "ADVANCED", "SUCCEEDED", "CANCELLED"], severity = null, runbook = "ReleaseGoesOn", told = var.channels.info
  } })
  dashboard = replace(replace(replace(file("${local.data}/dashboard.json"),
    "/job=(~?)\\\\\"erlmcp/", "job=$1\\\"${var.name}"),
    "/(service_name|job_name|subscription_id)=(~?)\\\\\"erlmcp/", "$1=$2\\\"${var.platform}"),
  "instances/erlmcp\\\"", "instances/${var.platform}\\\"")
}

resource "google_monitoring_notification_channel" "email" {
  for_each     = toset(var.emails)
  project      = var.project
  display_name = "${var.name}: ${each.value}"
  type         = "email"
  labels       = { email_address = each.value }
}

resource "google_monitoring_uptime_check_config" "health" {
  count        = var.host == "" ? 0 : 1
  project      = var.project
  display_name = "${var.name} health"
  timeout      = "10s"
  period       = "60s"

  http_check {
    path         = "/health"
    port         = 443
    use_ssl      = true
    validate_ssl = true

    dynamic "service_agent_authentication" {
      for_each = var.private ? [1] : []
      content {
        type = "OIDC_TOKEN"
      }
    }
  }

  content_matchers {
    content = "\"status\":\"up\""
    matcher = "CONTAINS_STRING"
  }

  monitored_resource {
    type   = "uptime_url"
    labels = { project_id = var.project, host = var.host }
  }
}

resource "google_monitoring_alert_policy" "down" {
  count        = var.host == "" ? 0 : 1
  project      = var.project
  display_name = "${var.name} does not answer"
  combiner     = "OR"
  severity     = "CRITICAL"

  conditions {
    display_name = "Health fails from two places for two minutes"
    condition_threshold {
      filter          = "metric.type=\"monitoring.googleapis.com/uptime_check/check_passed\" AND resource.type=\"uptime_url\" AND metric.labels.check_id=\"${google_monitoring_uptime_check_config.health[0].uptime_check_id}\""
      comparison      = "COMPARISON_GT"
      threshold_value = 1
      duration        = "120s"

      aggregations {
        alignment_period     = "60s"
        per_series_aligner   = "ALIGN_NEXT_OLDER"
        cross_series_reducer = "REDUCE_COUNT_FALSE"
        group_by_fields      = ["resource.label.host"]
      }
    }
  }

  documentation {
    subject   = "${var.name} does not answer"
    content   = file("${local.runbooks}/DoesNotAnswer.md")
    mime_type = "text/markdown"
  }

  notification_channels = local.told.critical
}

# https://cloud.google.com/deploy/docs/logs: rollouts say there how they go.
resource "google_monitoring_alert_policy" "release" {
  for_each     = local.releases
  project      = var.project
  display_name = "${var.name}: ${each.value.summary}"
  combiner     = "OR"
  severity     = each.value.severity

  conditions {
    display_name = each.value.summary
    condition_matched_log {
      filter           = "logName=\"projects/${var.project}/logs/clouddeploy.googleapis.com%2Frollout_update\" AND resource.type=\"clouddeploy.googleapis.com/DeliveryPipeline\" AND resource.labels.pipeline_id=(${join(" OR ", [for p in var.pipelines : "\"${p}\""])}) AND jsonPayload.rolloutUpdateType=(${join(" OR ", [for t in each.value.types : "\"${t}\""])})"
      label_extractors = { rollout = "EXTRACT(jsonPayload.rollout)", update = "EXTRACT(jsonPayload.rolloutUpdateType)" }
    }
  }

  documentation {
    subject   = "${var.name}: ${each.value.summary}"
    content   = file("${local.runbooks}/${each.value.runbook}.md")
    mime_type = "text/markdown"
  }

  notification_channels = each.value.told

  alert_strategy {
    auto_close = "3600s"
    notification_rate_limit {
      period = "300s"
    }
  }
}

moved {
  from = google_monitoring_alert_policy.release
  to   = google_monitoring_alert_policy.release["failed"]
}

# Who is told gets the runbook with it.
resource "google_monitoring_alert_policy" "rule" {
  for_each     = local.rules
  project      = var.project
  display_name = "${var.name}: ${each.key}"
  combiner     = "OR"
  severity     = upper(each.value.labels.severity)

  conditions {
    display_name = each.value.annotations.summary
    condition_prometheus_query_language {
      query                     = each.value.expr
      duration                  = try(each.value["for"], "0s")
      evaluation_interval       = each.value.group.interval
      rule_group                = each.value.group.name
      alert_rule                = each.key
      labels                    = each.value.labels
      disable_metric_validation = true # the first metrics come after the policy
    }
  }

  documentation {
    subject   = "${var.name}: ${each.value.annotations.summary}"
    content   = "${each.value.annotations.description}\n\n${file("${local.runbooks}/${each.key}.md")}"
    mime_type = "text/markdown"
  }

  notification_channels = local.told[each.value.labels.severity]

  alert_strategy {
    auto_close = "3600s"
  }
}

# The objective in the console. Nobody is told by it: the API refuses it until its metrics have come, and the alerts are there from the first
# minute, on any Prometheus, and in tests.
resource "google_monitoring_custom_service" "this" {
  count        = var.objectives ? 1 : 0
  project      = var.project
  service_id   = var.name
  display_name = var.name
}

resource "google_monitoring_slo" "availability" {
  count               = var.objectives ? 1 : 0
  project             = var.project
  service             = google_monitoring_custom_service.this[0].service_id
  slo_id              = "availability"
  display_name        = "Calls do not fail by the server's own fault"
  goal                = 1 - local.objective.budget
  rolling_period_days = 30

  request_based_sli {
    good_total_ratio {
      bad_service_filter   = "${local.series}/erlmcp_errors_total/counter\" AND metric.labels.type=monitoring.regex.full_match(\"${local.objective.faults}\")"
      total_service_filter = "${local.series}/erlmcp_requests_total/counter\" AND metric.labels.outcome!=\"invalid\""
    }
  }
}

resource "google_monitoring_slo" "overhead" {
  count               = var.objectives ? 1 : 0
  project             = var.project
  service             = google_monitoring_custom_service.this[0].service_id
  slo_id              = "overhead"
  display_name        = "Calls take less than ${local.objective.seconds} s beside their handler's time"
  goal                = local.objective.quick
  rolling_period_days = 30

  request_based_sli {
    distribution_cut {
      distribution_filter = "${local.series}/erlmcp_request_overhead_seconds/histogram\""
      range {
        max = local.objective.seconds
      }
    }
  }
}

resource "google_monitoring_dashboard" "this" {
  count          = var.telemetry ? 1 : 0
  project        = var.project
  dashboard_json = jsonencode(merge(jsondecode(local.dashboard), { displayName = var.name }))
}

resource "google_billing_budget" "this" {
  count           = var.budget.billing_account == "" ? 0 : 1
  billing_account = var.budget.billing_account
  display_name    = var.name

  budget_filter {
    projects = ["projects/${var.project_number}"]
  }

  amount {
    specified_amount {
      units = tostring(var.budget.monthly)
    }
  }

  dynamic "threshold_rules" {
    for_each = [0.5, 0.9, 1]
    content {
      threshold_percent = threshold_rules.value
    }
  }
  threshold_rules {
    threshold_percent = 1
    spend_basis       = "FORECASTED_SPEND"
  }

  all_updates_rule {
    monitoring_notification_channels = [for e in slice(var.emails, 0, min(5, length(var.emails))) : google_monitoring_notification_channel.email[e].id] # five at most, and e-mail alone
  }
}
