# What is documented of the cost in infra/README.md, whose table is made of these runs, by the names of the runs. Figures are reckoned by
# hand: a month has 730 h.

mock_provider "google" {}
mock_provider "random" {}

variables {
  project        = "my-project"
  project_number = "123456789012"
  environment    = "production"
  emails         = ["oncall@example.com"]
  domain         = "mcp.example.com"
  settings       = { GOOGLE_DOMAINS = "example.com" }
}

run "autopilot" {
  command = plan
  assert {
    # CPUs: 3 × 0.5 + 2 × 0.1 + 5 × 0.05 = 1.95, × 730 × 0.0445; GiB: 3 × 0.5 + 2 × 0.25 + 5 × 0.125 = 2.625, × 730 × 0.0049225
    condition     = output.cost.idle_month["GKE, pods"] == 72.78 && output.cost.idle_month["GKE, cluster"] == 73
    error_message = "Pods cost ${output.cost.idle_month["GKE, pods"]} and the cluster ${output.cost.idle_month["GKE, cluster"]}."
  }
}

run "standard" {
  command = plan
  variables {
    autopilot = false
  }
  assert {
    # 3 × 730 × 0.095
    condition     = output.cost.idle_month["GKE, nodes"] == 208.05
    error_message = "Nodes cost ${output.cost.idle_month["GKE, nodes"]}."
  }
}
