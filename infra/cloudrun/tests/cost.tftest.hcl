# What is documented of the cost in infra/README.md, whose table is made of these runs, by the names of the runs. Figures are reckoned by
# hand: a month has 730 h, 43 800 min, 2 628 000 s; a GiB has 1 073 741 824 bytes.

mock_provider "google" {}
mock_provider "random" {}

variables {
  project        = "my-project"
  project_number = "123456789012"
  environment    = "production"
  emails         = ["oncall@example.com"]
}

run "default" {
  command = plan
  assert {
    # 1.5 CPU × 2 628 000 s × 0.000018 + 1.25 GiB × 2 628 000 s × 0.000002, since uptime checks keep an instance
    condition     = output.cost.idle_month["Cloud Run, instances that are kept"] == 77.53
    error_message = "The instance that uptime checks keep costs ${output.cost.idle_month["Cloud Run, instances that are kept"]}."
  }
  assert {
    # Redis 730 × 0.064 = 46.72, NAT 730 × (0.005 + 0.0014) = 4.67, instance 77.53, 5 secrets 0.30, 3 of them that the instance looks at
    # every 30 s 3 × 87 600 × 0.03 / 10⁴ = 0.79, images 0.10, 23 alerts × (0.10 +
    # 0.0438 × 0.35) = 2.65, 2 schedules 0.20, 43 800 × 200 samples × 0.06 / 10⁶ = 0.53, records of 262 800 checks of 1000 bytes 0.12
    condition     = abs(output.cost.idle_month.total - 133.60) < 0.011
    error_message = "Idle is ${output.cost.idle_month.total} a month."
  }
  assert {
    # (550 + 3450 / 50) bytes × 10⁶ are 0.5765 GiB, × 30 / 30.42 months × 0.15: in a database of their own, without PITR and backups
    condition     = output.cost.million_calls["Firestore, receipts kept"] == 0.09
    error_message = "Receipts of a million calls cost ${output.cost.million_calls["Firestore, receipts kept"]}."
  }
  assert {
    # (66 + 64) bytes × 10⁶ are 0.1211 GiB, × 400 / 30.42 months × 0.02
    condition     = output.cost.million_calls["Archive of receipts"] == 0.03
    error_message = "The archive costs ${output.cost.million_calls["Archive of receipts"]}."
  }
  assert {
    # (140 + 64) bytes × 10⁶ are 0.19 GiB, × 30 copies × 36 / 30.42 months × 0.02
    condition     = abs(output.cost.million_calls["Backups, receipts copied"] - 0.135) < 0.006
    error_message = "What backups have of receipts costs ${output.cost.million_calls["Backups, receipts copied"]}."
  }
  assert {
    # 20 000 segments and 333 roots, read by 30 backups and twice for the archive, × 0.03 / 10⁵
    condition     = output.cost.million_calls["Backups, receipts read"] == 0.2
    error_message = "To read receipts for backups costs ${output.cost.million_calls["Backups, receipts read"]}."
  }
  assert {
    # 2010 bytes × 10⁶ are 1.872 GiB, × 0.50
    condition     = output.cost.million_calls["Cloud Logging"] == 0.94
    error_message = "Logs of a million calls cost ${output.cost.million_calls["Cloud Logging"]}."
  }
  assert {
    # 20 000 s × 0.0000295 = 0.59, receipts 0.09 and 0.02, backups and archive 0.37, logs 0.94, spans and metrics 0.02, orders 0.02, secrets 0.01
    condition     = abs(output.cost.million_calls.total - 2.06) < 0.03
    error_message = "A million calls cost ${output.cost.million_calls.total}."
  }
  assert {
    # 30 min × 0.016 and 70 min × 0.006
    condition     = output.cost.release.total == 0.9
    error_message = "A release costs ${output.cost.release.total}."
  }
}

run "sparse" {
  command = plan
  variables {
    calls_per_instance_second = 1
  }
  assert {
    # 10⁶ s × 0.0000295
    condition     = output.cost.million_calls["Cloud Run, instance time"] == 29.5
    error_message = "Instances for a million calls that come one at a time cost ${output.cost.million_calls["Cloud Run, instance time"]}."
  }
}

run "without_telemetry" {
  command = plan
  variables {
    telemetry = false
  }
  assert {
    # 2 628 000 s × (0.000018 + 0.000002)
    condition     = output.cost.idle_month["Cloud Run, instances that are kept"] == 52.56 && !contains(keys(output.cost.million_calls), "Cloud Trace")
    error_message = "Without the collector the instance that is kept costs ${output.cost.idle_month["Cloud Run, instances that are kept"]}."
  }
}

run "staging" {
  command = plan
  variables {
    environment            = "staging"
    redis_highly_available = false
    telemetry              = false
    settings               = { RECEIPT_RETENTION_DAYS = "30", LOG_SAMPLE = "0.1" }
    billing                = "request"
  }
  assert {
    # 262 800 checks × (0.1 s × (0.000024 + 0.0000025) + 0.40 / 10⁶)
    condition     = output.cost.idle_month["Cloud Run, answers to uptime checks"] == 0.8
    error_message = "Answers to uptime checks cost ${output.cost.idle_month["Cloud Run, answers to uptime checks"]}."
  }
  assert {
    # 0.5765 GiB × 0.986 months × 0.15
    condition     = output.cost.million_calls["Firestore, receipts kept"] == 0.09
    error_message = "Receipts that are kept for 30 days cost ${output.cost.million_calls["Firestore, receipts kept"]}."
  }
}

run "domain" {
  command = plan
  variables {
    domain         = "mcp.example.com"
    public         = true
    authentication = "keys"
    policy         = "rules: []"
    receipt_key    = "kms"
  }
  assert {
    condition     = output.cost.idle_month["Load balancer"] == 18.25 && output.cost.idle_month["Cloud KMS"] == 0.06
    error_message = "A load balancer and a key cost ${jsonencode(output.cost.idle_month)}."
  }
  assert {
    # four files, looked at every 30 s of 20 000, × 0.03 / 10⁴
    condition     = output.cost.million_calls["Secret Manager, files"] == 0.01 && output.cost.idle_month["Secret Manager, files"] == 1.05
    error_message = "To look at the files of keys, rules and logins costs ${output.cost.million_calls["Secret Manager, files"]}."
  }
}

run "quotas" {
  command = plan
  variables {
    settings = { TENANT_CALLS_PER_DAY = "1000" }
  }
  assert {
    # 20 000 s × 0.75 × (0.03 + 0.09) / 10⁵
    condition     = output.cost.million_calls["Firestore, quotas"] == 0.02
    error_message = "A quota costs ${output.cost.million_calls["Firestore, quotas"]}."
  }
}

run "one_database" {
  command = plan
  variables {
    databases_apart = false
  }
  assert {
    # 0.5765 GiB × 0.986 months × (0.15 + 0.15 PITR + 21 backups × 0.03)
    condition     = output.cost.million_calls["Firestore, receipts kept"] == 0.53
    error_message = "Receipts in the one database cost ${output.cost.million_calls["Firestore, receipts kept"]}."
  }
}

run "try" {
  command = plan
  variables {
    environment = "staging"
    size        = "try"
  }
  assert {
    # 3 secrets 0.18, images 0.10, 2 schedules 0.20, 4 alerts × (0.10 + 0.0438 × 0.35) = 0.46
    condition     = abs(output.cost.idle_month.total - 0.94) < 0.011 && output.cost.idle_month.total < 2
    error_message = "To try it costs ${output.cost.idle_month.total} a month: ${jsonencode(output.cost.idle_month)}."
  }
  assert {
    # 20 000 s × (0.000024 + 0.0000025) = 0.53, requests 0.40, receipts 0.5765 GiB × 0.986 × 0.15 = 0.09 and 0.02, backups and archive 0.37, logs 0.94,
    # orders 0.02, spans and metrics 0.02
    condition     = abs(output.cost.million_calls.total - 2.39) < 0.03
    error_message = "A million calls cost ${output.cost.million_calls.total}."
  }
  assert {
    # 30 min × 0.016 and 10 min × 0.006
    condition     = output.cost.release.total == 0.54
    error_message = "A release costs ${output.cost.release.total}."
  }
}

run "small" {
  command = plan
  variables {
    environment = "staging"
    size        = "small"
  }
  assert {
    # Redis 730 × 0.049 = 35.77, 5 secrets 0.30, images 0.10, 23 alerts 2.65, 2 schedules 0.20, answers to 262 800 checks × (0.1 s × (0.000024 +
    # 0.0000025) + 0.40 / 10⁶) = 0.80, 43 800 × 200 samples × 0.06 / 10⁶ = 0.53, records of checks 0.12
    condition     = abs(output.cost.idle_month.total - 40.47) < 0.011
    error_message = "The small size costs ${output.cost.idle_month.total} a month: ${jsonencode(output.cost.idle_month)}."
  }
}
