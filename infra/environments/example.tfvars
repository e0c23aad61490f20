# Copy to staging.tfvars, or to production.tfvars, which is protected against destruction; all variables and their defaults:
# infra/cloudrun/variables.tf and infra/gke/variables.tf. What only one of the two knows goes to staging.cloudrun.tfvars or
# staging.gke.tfvars.
project        = "my-project"
project_number = "123456789012" # gcloud projects describe my-project --format 'value(projectNumber)'

# try, small or production, as infra/docs/sizes.md has them side by side. Only Cloud Run has sizes: beside GKE it goes to
# staging.cloudrun.tfvars.
# size = "try"

# Who is told of alerts, and of the budget once there is one.
emails = ["oncall@example.com"]
# billing_account = "012345-6789AB-CDEF01"
# monthly_budget  = 200

# Who may do what in the control plane, and who may publish events of entitlements.
# On Cloud Run alone: people, and * for all of them.
# people          = { viewers = ["group:developers@example.com"], on_call = ["group:oncall@example.com"], deployers = ["group:platform@example.com"] }
# taiea_operators = { "alice@example.com" = "admin", "*" = "operator" }
# publishers      = ["serviceAccount:billing@my-project.iam.gserviceaccount.com"]
# event_sources   = ["billing"] # that they may speak for

# Whose tags are released.
# repository = {
#   url                 = "https://github.com/OWNER/REPOSITORY.git"
#   github_installation = 1234567 # of Cloud Build's app
#   github_token_secret = "github-token"
# }
