variable "alerts" {
  description = "Whether there are alerts on the server's own metrics, each 0.12 $ a month; null for what the size has."
  type        = bool
  default     = null
}

variable "authentication" {
  description = "AUTHENTICATION: who may call, in order. cloudrun trusts what Cloud Run has verified, and is for private services alone."
  type        = string
  default     = "cloudrun"

  validation {
    condition     = alltrue([for m in split(",", var.authentication) : contains(["keys", "oauth", "google", "cloudrun", "iap", "anonymous"], trimspace(m))])
    error_message = "authentication lists keys, oauth, google, cloudrun, iap or anonymous, separated by commas."
  }
  validation {
    condition     = !(var.public && contains([for m in split(",", var.authentication) : trimspace(m)], "cloudrun"))
    error_message = "A public service can't have authentication cloudrun: anyone can write a token that nobody has verified. Use keys, oauth or google."
  }
  validation {
    condition     = !contains([for m in split(",", var.authentication) : trimspace(m)], "google") || length(setintersection(keys(var.settings), ["GOOGLE_DOMAINS", "GOOGLE_ACCOUNTS"])) > 0
    error_message = "Anyone can have an account of Google's: with authentication google, settings name whom it lets in, by GOOGLE_DOMAINS or GOOGLE_ACCOUNTS."
  }
}

variable "backup_days" {
  description = "Days for which daily backups of Firestore are kept; null for what the size has."
  type        = number
  default     = null

  validation {
    condition     = var.backup_days == null ? true : var.backup_days >= 1 && var.backup_days <= 98
    error_message = "backup_days is from 1 to 98 (14 weeks, as long as Firestore keeps any)."
  }
}

variable "backups" {
  description = "Where backups and the roots of receipts are kept: project and location of the bucket (null for those of all else; better another project, whose owners are others), and the days for which nobody can change or delete what is in it. locked: nobody can shorten them any more, nor delete the bucket before they are over; null for production alone. null for no backups."
  type        = object({ project = optional(string), location = optional(string), retention_days = optional(number, 35), locked = optional(bool) })
  default     = {}

  validation {
    condition     = var.backups == null ? true : var.backups.retention_days == floor(var.backups.retention_days) && var.backups.retention_days >= 1 && var.backups.retention_days <= 3650
    error_message = "backups.retention_days is a whole number from 1 to 3650."
  }
}

variable "bake" {
  description = "Seconds for which a release that has 10 %, and then 50 %, of the traffic is compared with the one before it."
  type        = number
  default     = 1800

  validation {
    condition     = var.bake == floor(var.bake) && var.bake >= 600 && var.bake <= 43200
    error_message = "bake is a whole number of seconds from 600 to 43200: Cloud Monitoring has metrics once a minute, and half a day is enough."
  }
}

variable "balancer_rate" {
  description = "Requests a minute that one address may send to the load balancer (Cloud Armor); null for any number. Many callers may share an address, so it is for floods, and far above what limits allow."
  type        = number
  default     = null

  validation {
    condition     = var.balancer_rate == null ? true : var.domain != "" && var.balancer_rate == floor(var.balancer_rate) && var.balancer_rate >= 100 && var.balancer_rate <= 1000000
    error_message = "balancer_rate is a whole number from 100 to 1000000, and needs a domain, since there would be no load balancer."
  }
}

variable "billing" {
  description = "instance: CPU also between requests, so that leases are renewed in time. request: CPU while requests are served; leases lapse and are declared anew (proven under SIGSTOP), at the price of a round trip. null for what the size has."
  type        = string
  default     = null

  validation {
    condition     = var.billing == null ? true : contains(["instance", "request"], var.billing)
    error_message = "billing is instance or request."
  }
}

variable "billing_account" {
  description = "Billing account for the budget, such as 012345-6789AB-CDEF01; empty for no budget."
  type        = string
  default     = ""

  validation {
    condition     = var.billing_account == "" || can(regex("^[0-9A-F]{6}-[0-9A-F]{6}-[0-9A-F]{6}$", var.billing_account))
    error_message = "billing_account looks like 012345-6789AB-CDEF01."
  }
}

variable "binary_authorization" {
  description = "Whether images alone run that a release has built and signed, by Binary Authorization. This makes the project's policy, which all in it go by that ask for one, so one environment of a project can have it. Set it once a tag was released: what was built before is not signed."
  type        = bool
  default     = false
}

variable "build_pool" {
  description = "Private pool of Cloud Build in which Cloud Deploy works, such as projects/my-project/locations/us-central1/workerPools/private, so that it reaches what only a network reaches; null for Google's own."
  type        = string
  default     = null

  validation {
    condition     = var.build_pool == null ? true : can(regex("^projects/[^/]+/locations/[^/]+/workerPools/[^/]+$", var.build_pool))
    error_message = "build_pool looks like projects/my-project/locations/us-central1/workerPools/private."
  }
}

variable "calls_per_instance_second" {
  description = "Calls that one instance serves in a second on average, for the cost table."
  type        = number
  default     = 50

  validation {
    condition     = var.calls_per_instance_second > 0
    error_message = "calls_per_instance_second is more than 0."
  }
}

variable "channels" {
  description = "Notification channels that exist already (names such as projects/P/notificationChannels/1, of PagerDuty, Slack, Pub/Sub and so on), by what they are told of: critical alerts; warnings and releases that failed; or, info, releases that begin, go on and end."
  type        = object({ critical = optional(list(string), []), warning = optional(list(string), []), info = optional(list(string), []) })
  default     = {}

  validation {
    condition     = alltrue([for c in concat(var.channels.critical, var.channels.warning, var.channels.info) : can(regex("^projects/[^/]+/notificationChannels/[0-9]+$", c))])
    error_message = "channels have names such as projects/my-project/notificationChannels/123: gcloud beta monitoring channels list."
  }
}

variable "collector" {
  description = "Whether metrics and spans go by way of a collector beside each instance, which takes half a CPU and 256 MiB, and not straight from the function to Google; null for what the size has."
  type        = bool
  default     = null
}

variable "collector_image" {
  description = "Image of the collector: Google's build of OpenTelemetry's, or another one with the components of infra/observability/collector.yaml."
  type        = string
  default     = "us-docker.pkg.dev/cloud-ops-agents-artifacts/google-cloud-opentelemetry-collector/otelcol-google:0.156.1"

  validation {
    condition     = can(regex("^[a-z0-9.-]+/.+(:[A-Za-z0-9._-]+|@sha256:[0-9a-f]{64})$", var.collector_image))
    error_message = "collector_image is a name with a tag or a digest."
  }
}

variable "concurrency" {
  description = "Requests at a time of one instance."
  type        = number
  default     = 250

  validation {
    condition     = var.concurrency >= 1 && var.concurrency <= 1000
    error_message = "concurrency is from 1 to 1000."
  }
}

variable "cpu" {
  description = "CPUs of an instance."
  type        = string
  default     = "1"

  validation {
    condition     = contains(["1", "2", "4", "8"], var.cpu)
    error_message = "cpu is 1, 2, 4 or 8."
  }
}

variable "database" {
  description = "Firestore database that serves, one of databases; null for the first, which has the environment's name. It is changed once another one is restored."
  type        = string
  default     = null

  validation {
    condition     = var.database == null ? true : contains(var.databases, var.database)
    error_message = "database is one of databases: make it first, restore into it, and then have it serve."
  }
}

variable "databases" {
  description = "Further Firestore databases, to restore into. Each is made empty, with the indexes, expiry and backups of the first."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for d in var.databases : can(regex("^[a-z][a-z0-9-]{2,52}[a-z0-9]$", d)) && !can(regex("-(drill|usage|receipts)$", d))])
    error_message = "databases are names of 4 to 54 small letters, digits and dashes, such as erlmcp-restored, that do not end in -drill, -usage or -receipts."
  }
}

variable "databases_apart" {
  description = "Whether what operators order, what instances count, and receipts are in a database each, so that the data plane can't change orders and nobody can change receipts; false for environments of erlmcp 0.7 or earlier, which have one."
  type        = bool
  default     = true
}

variable "domain" {
  description = "Host name of one's own, such as mcp.example.com, behind a load balancer; empty for the name that Cloud Run gives."
  type        = string
  default     = ""

  validation {
    condition     = var.domain == "" || can(regex("^([a-z0-9]([a-z0-9-]*[a-z0-9])?\\.)+[a-z]{2,}$", var.domain))
    error_message = "domain is a host name such as mcp.example.com, without https://."
  }
}

variable "emails" {
  description = "E-mail addresses that are told of alerts and the budget."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for e in var.emails : can(regex("^[^@ ]+@[^@ ]+\\.[^@ ]+$", e))])
    error_message = "emails are e-mail addresses."
  }

  validation {
    condition     = !coalesce(var.protected, var.environment == "production") || length(var.emails) + length(var.channels.critical) > 0
    error_message = "Nobody would be told of critical alerts: a protected environment, as production is, has emails, or channels.critical."
  }
}

variable "environment" {
  description = "Name of the environment. production is protected against destruction; others have their name in that of all that is made."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9]{0,10}$", var.environment))
    error_message = "environment is up to 11 small letters and digits, such as staging."
  }
}

variable "event_sources" {
  description = "Sources of entitlement events that publishers may speak for, such as billing. Empty for any, as long as no webhook secret names its source: then it must name them."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for s in var.event_sources : can(regex("^[a-z0-9][a-z0-9._-]{0,63}$", s)) && s != "operator"])
    error_message = "event_sources are names of small letters, digits, dots, dashes and underscores, such as billing, and never operator."
  }
}

variable "firestore_location" {
  description = "Location of the database, a region or a multi-region such as nam5; null for the region. It can't be changed later."
  type        = string
  default     = null

  validation {
    condition     = var.firestore_location == null || can(regex("^[a-z]+[0-9]+$|^[a-z]+-[a-z]+[0-9]+$", var.firestore_location))
    error_message = "firestore_location looks like us-central1 or nam5."
  }
}

variable "ingress" {
  description = "From where the service's own URL is reached: INGRESS_TRAFFIC_ALL, INGRESS_TRAFFIC_INTERNAL_ONLY, or INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER with a domain. IAM, or authentication where it is public, decides about callers in any case. Releases ask new revisions at that URL: but for INGRESS_TRAFFIC_ALL they must be built in a private pool within the network."
  type        = string
  default     = "INGRESS_TRAFFIC_ALL"

  validation {
    condition     = contains(["INGRESS_TRAFFIC_ALL", "INGRESS_TRAFFIC_INTERNAL_ONLY", "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER"], var.ingress)
    error_message = "ingress is INGRESS_TRAFFIC_ALL, INGRESS_TRAFFIC_INTERNAL_ONLY or INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER."
  }
  validation {
    condition     = var.ingress != "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER" || var.domain != ""
    error_message = "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER needs a domain, since there would be no load balancer."
  }
}

variable "instances" {
  description = "Fewest and most instances; null for what the size has."
  type        = object({ min = number, max = number })
  default     = null

  validation {
    condition     = var.instances == null ? true : var.instances.min >= 0 && var.instances.max >= 1 && var.instances.max >= var.instances.min && var.instances.max <= 1000
    error_message = "instances.min is 0 or more, instances.max at least 1, at least min, and at most 1000."
  }
}

variable "invokers" {
  description = "Members of IAM that may call a private service, such as serviceAccount:agent@PROJECT.iam.gserviceaccount.com."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for m in var.invokers : can(regex("^(user|group|serviceAccount|domain|principal|principalSet):", m))])
    error_message = "invokers are members such as user:me@example.com; everyone is let in by public = true alone."
  }
}

variable "judged" {
  description = "Whether releases get traffic by steps, each compared with what served before, and not all at once; null where there are telemetry and Redis. false for the one deployment that brings telemetry, since what served before has no metrics."
  type        = bool
  default     = null

  validation {
    condition     = var.judged != true || local.size.telemetry && local.shares_counters
    error_message = "Without telemetry there is nothing to compare releases by, and without Redis two versions would each count by themselves: leave judged out, or set telemetry = true and redis_memory_gb."
  }
}

variable "kms_key" {
  description = "Key in Cloud KMS that encrypts all that is kept, such as projects/my-project/locations/us-central1/keyRings/ours/cryptoKeys/erlmcp; null for Google's own keys. It is in the region, and so are databases and secrets then. What is there can't be given another key: it would be made anew."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key == null ? true : can(regex("^projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+$", var.kms_key))
    error_message = "kms_key looks like projects/my-project/locations/us-central1/keyRings/ours/cryptoKeys/erlmcp."
  }
  validation {
    condition     = var.kms_key == null ? true : strcontains(var.kms_key, "/locations/${var.region}/")
    error_message = "kms_key must be in the region, ${var.region}."
  }
  validation {
    condition     = var.kms_key == null ? true : length(setsubtract(concat(var.secret_locations, compact([var.firestore_location, try(var.backups.location, null)])), [var.region])) == 0
    error_message = "With kms_key databases, secrets and backups are where the key is: leave firestore_location, secret_locations and backups.location out."
  }
}

variable "log_sinks" {
  description = "Where logs are handed on to, beside Cloud Logging, by name: gs://BUCKET, or projects/PROJECT/topics/TOPIC. Both exist already."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for name, to in var.log_sinks : can(regex("^[a-z][a-z0-9-]{0,40}$", name)) && can(regex("^(gs://[a-z0-9._-]+|projects/[^/]+/topics/[^/]+)$", to))])
    error_message = "log_sinks are such as { elastic = \"projects/my-project/topics/logs\", archive = \"gs://my-project-logs\" }."
  }
}

variable "memory" {
  description = "Memory of an instance."
  type        = string
  default     = "1Gi"

  validation {
    condition     = can(regex("^([1-9]|[12][0-9]|3[0-2])Gi$", var.memory))
    error_message = "memory is from 1Gi to 32Gi."
  }
}

variable "monthly_budget" {
  description = "Amount a month at which the budget alerts, in the billing account's currency."
  type        = number
  default     = 200

  validation {
    condition     = var.monthly_budget >= 1 && floor(var.monthly_budget) == var.monthly_budget
    error_message = "monthly_budget is a whole number of at least 1."
  }
}

variable "nat" {
  description = "Whether the network has Cloud NAT. Cloud Run needs none; GKE that shares the network with it does. null for what the size has."
  type        = bool
  default     = null
}

variable "network" {
  description = "Network that exists and is used in place of one made here; null makes one. It has the connection to Google's services that Memorystore needs."
  type        = string
  default     = null

  validation {
    condition     = (var.network == null) == (var.subnetwork == null)
    error_message = "network and subnetwork are set together."
  }
}

variable "network_project" {
  description = "Project of the network, where it is another one's (Shared VPC); null for this one."
  type        = string
  default     = null

  validation {
    condition     = var.network_project == null || var.network != null
    error_message = "network_project is of a network that exists: set network and subnetwork, too."
  }
}

variable "objectives" {
  description = "Whether the console shows the objective that the alerts hold the server to. Cloud Monitoring refuses it until the server has sent its first metrics: set it some minutes after the first release."
  type        = bool
  default     = false
}

variable "people" {
  description = "Who may do what with what runs, as members of IAM such as group:oncall@example.com: viewers look; on_call does what the runbooks say (go back to an earlier release, make a backup, deal with events that were not taken); deployers approve tags and release. All are let into the control plane, where taiea_operators says what they may do."
  type        = object({ viewers = optional(list(string), []), on_call = optional(list(string), []), deployers = optional(list(string), []) })
  default     = {}

  validation {
    condition     = alltrue([for m in concat(var.people.viewers, var.people.on_call, var.people.deployers) : can(regex("^(group|user|principal|principalSet|serviceAccount):", m))])
    error_message = "people are members of IAM, such as group:oncall@example.com."
  }
}

variable "policy" {
  description = "Rules in CEL as YAML, for POLICY_FILE; empty for none."
  type        = string
  default     = ""

  validation {
    condition     = var.policy == "" || can(yamldecode(var.policy).rules)
    error_message = "policy is YAML with rules, as in infra/docs/callers.md."
  }
}

variable "private_upstreams" {
  description = "Private addresses in CIDR form that tools may reach, and that the server's own guard then lets them reach (EGRESS_ALLOW)."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for r in var.private_upstreams : can(cidrnetmask(r)) && r != "0.0.0.0/0"])
    error_message = "private_upstreams are IPv4 ranges such as 10.1.0.0/16, and never everything."
  }
  validation {
    condition     = length(var.private_upstreams) == 0 || !contains(keys(var.settings), "EGRESS_ALLOW")
    error_message = "EGRESS_ALLOW follows from private_upstreams: leave it out of settings."
  }
  validation {
    condition     = length(var.private_upstreams) == 0 || var.network != null || var.static_egress || (var.redis_memory_gb == null ? local.sizes[var.size].redis_memory_gb : var.redis_memory_gb) > 0
    error_message = "Without a network nothing leads to private_upstreams: name one that exists, or set redis_memory_gb = 1."
  }
}

variable "project" {
  description = "Project id."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project))
    error_message = "project is a project id, 6 to 30 small letters, digits and dashes."
  }
}

variable "project_number" {
  description = "Project number, as gcloud projects describe PROJECT says it."
  type        = string

  validation {
    condition     = can(regex("^[0-9]{6,20}$", var.project_number))
    error_message = "project_number is a number: gcloud projects describe PROJECT --format 'value(projectNumber)'."
  }
}

variable "protected" {
  description = "Whether service, Redis, Firestore and secrets refuse to be destroyed, and a person must approve each tag before it is released; null for production alone."
  type        = bool
  default     = null
}

variable "public" {
  description = "Whether Cloud Run lets everyone in, so that authentication alone decides who may call."
  type        = bool
  default     = false
}

variable "publishers" {
  description = "Members of IAM that may publish events of entitlements, such as serviceAccount:billing@PROJECT.iam.gserviceaccount.com."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for m in var.publishers : can(regex("^(user|group|serviceAccount|domain|principal|principalSet):", m))])
    error_message = "publishers are members such as serviceAccount:billing@my-project.iam.gserviceaccount.com, and never everyone."
  }
}

variable "ranges" {
  description = "Address ranges in CIDR form of nodes and instances, pods, and Kubernetes services."
  type        = object({ nodes = string, pods = string, services = string })
  default     = { nodes = "10.10.0.0/22", pods = "10.20.0.0/16", services = "10.30.0.0/20" }

  validation {
    condition     = alltrue([for r in values(var.ranges) : can(cidrnetmask(r))])
    error_message = "ranges are IPv4 ranges such as 10.10.0.0/22."
  }
}

variable "receipt_key" {
  description = "Where the Ed25519 key is that vouches for receipts: secret (made here, in Secret Manager), kms (in Cloud KMS, which it never leaves) or none (chains are hashed and not signed)."
  type        = string
  default     = "secret"

  validation {
    condition     = contains(["secret", "kms", "none"], var.receipt_key)
    error_message = "receipt_key is secret, kms or none."
  }
}

variable "receipt_key_version" {
  description = "Version of the key in Cloud KMS that signs receipts, where receipt_key is kms. Public halves of earlier ones stay with verifiers."
  type        = number
  default     = 1

  validation {
    condition     = var.receipt_key_version == floor(var.receipt_key_version) && var.receipt_key_version >= 1
    error_message = "receipt_key_version is a whole number from 1."
  }
}

variable "receipt_roots_since" {
  description = "Time such as 2026-12-01T00:00:00Z from which on roots of receipts are made by the control plane alone, each minute, with a key that only it has; null for roots by every instance, with the key of receipts. A new environment takes a time that has passed. In one that runs set a time by which every instance was told, and after which none of a version is run that does not know it: its roots are reported."
  type        = string
  default     = null

  validation {
    condition     = var.receipt_roots_since == null ? true : can(timeadd(var.receipt_roots_since, "0s")) && var.receipt_key != "none"
    error_message = "receipt_roots_since is a time such as 2026-12-01T00:00:00Z, where receipt_key is secret or kms."
  }
}

variable "redis_highly_available" {
  description = "Whether Redis has a replica that takes over within seconds; null for what the size has. A change replaces Redis."
  type        = bool
  default     = null
}

variable "redis_memory_gb" {
  description = "Memory of Redis in GB; 0 for no Redis, where one instance counts by itself; null for what the size has."
  type        = number
  default     = null

  validation {
    condition     = var.redis_memory_gb == null ? true : var.redis_memory_gb == floor(var.redis_memory_gb) && var.redis_memory_gb >= 0 && var.redis_memory_gb <= 300
    error_message = "redis_memory_gb is a whole number from 1 to 300, or 0 for no Redis."
  }
  validation {
    condition     = (var.redis_memory_gb == null ? local.sizes[var.size].redis_memory_gb : var.redis_memory_gb) != 0 || (var.instances == null ? local.sizes[var.size].instances : var.instances).max == 1
    error_message = "Without Redis each instance counts by itself, and a limit would hold as many times as there are instances: set redis_memory_gb = 1, or instances = { min = 0, max = 1 }."
  }
}

variable "region" {
  description = "Region."
  type        = string
  default     = "us-central1"

  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+$", var.region))
    error_message = "region looks like us-central1."
  }
}

variable "repository" {
  description = "Source repository whose tags are released: its URL and the name of a Cloud Build connection that exists; or, for a new one to GitHub, the installation id of Cloud Build's app and the secret that holds the token. null for no trigger."
  type = object({
    url                 = string
    connection          = optional(string, "")
    github_installation = optional(number)
    github_token_secret = optional(string)
  })
  default = null

  validation {
    condition     = var.repository == null ? true : can(regex("^https://.+\\.git$", var.repository.url))
    error_message = "repository.url looks like https://github.com/OWNER/REPOSITORY.git."
  }
  validation {
    condition     = var.repository == null ? true : var.repository.connection != "" || (var.repository.github_installation != null && var.repository.github_token_secret != null)
    error_message = "repository needs a connection, or github_installation and github_token_secret to make one."
  }
}

variable "secret_locations" {
  description = "Regions in which secrets are kept, and nowhere else; empty for wherever Google keeps them. A change makes secrets anew."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for r in var.secret_locations : can(regex("^[a-z]+-[a-z]+[0-9]+$", r))])
    error_message = "secret_locations are regions such as europe-west3."
  }
}

variable "settings" {
  description = "Further settings of the function, such as LOG_LEVEL. Those that are made here can't be among them."
  type        = map(string)
  default     = {}

  validation {
    condition     = length(setintersection(keys(var.settings), ["AUTHENTICATION", "SEALING_KEYS", "SEALING_KEYS_FILE", "GOVERNOR_SCOPE", "REDIS_URL", "REDIS_URL_FILE", "REDIS_CA", "API_KEYS_FILE", "POLICY_FILE", "PORT", "FIRESTORE_DATABASE", "GOOGLE_CLOUD_PROJECT", "FUNCTION_TARGET", "RECEIPT_KEY_FILE", "RECEIPT_KMS_KEY", "UNKNOWN_TENANTS"])) == 0
    error_message = "settings must not hold AUTHENTICATION, SEALING_KEYS, SEALING_KEYS_FILE, GOVERNOR_SCOPE, REDIS_URL, REDIS_URL_FILE, REDIS_CA, API_KEYS_FILE, POLICY_FILE, PORT, FIRESTORE_DATABASE, GOOGLE_CLOUD_PROJECT, FUNCTION_TARGET, RECEIPT_KEY_FILE, RECEIPT_KMS_KEY or UNKNOWN_TENANTS: they follow from other variables, or are secret."
  }
}

variable "size" {
  description = "What the variables default to that say null: try (one instance, no Redis), small, or production. infra/docs/sizes.md has them side by side."
  type        = string
  default     = "production"

  validation {
    condition     = contains(["try", "small", "production"], var.size)
    error_message = "size is try, small or production."
  }
}

variable "static_egress" {
  description = "Whether what leaves comes from a reserved address (the output egress), so that others can let it in. All of it goes through the network then. In a network that exists, the addresses are those of its own Cloud NAT."
  type        = bool
  default     = false
}

variable "subnetwork" {
  description = "Subnetwork of that network, in the region. On GKE it has ranges for pods and Kubernetes services."
  type        = string
  default     = null

  validation {
    condition     = var.subnetwork == null ? true : can(regex("^[a-z][a-z0-9-]{0,62}$", var.subnetwork))
    error_message = "subnetwork is a name, without its region and project."
  }
}

variable "taiea_authentication" {
  description = "AUTHENTICATION of the control plane: who operates, in order. null for cloudrun, which trusts what Cloud Run has verified."
  type        = string
  default     = null

  validation {
    condition     = var.taiea_authentication == null ? true : alltrue([for m in split(",", var.taiea_authentication) : contains(["keys", "oauth", "google", "cloudrun", "iap"], trimspace(m))])
    error_message = "taiea_authentication lists keys, oauth, google, cloudrun or iap, separated by commas."
  }
}

variable "taiea_operators" {
  description = "Who may do what in the control plane: e-mail address of a user or service account to viewer, operator or admin; * is for all other people that Cloud Run lets in, which are those of the variable people. Cloud Run lets in these, and nobody else but Pub/Sub."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for who, role in var.taiea_operators : (who == "*" || can(regex("^[^@ ,=:]+@[^@ ,=]+\\.[^@ ,=]+$", who))) && contains(["viewer", "operator", "admin"], role)])
    error_message = "taiea_operators are e-mail addresses with a role each, such as { \"alice@example.com\" = \"admin\" }, or *; roles are viewer, operator and admin. Groups are let in by the variable people."
  }
}

variable "taiea_settings" {
  description = "Further settings of the control plane, such as OAUTH_ISSUERS. Those that are made here can't be among them."
  type        = map(string)
  default     = {}

  validation {
    condition     = length(setintersection(keys(var.taiea_settings), ["AUTHENTICATION", "SEALING_KEYS", "SEALING_KEYS_FILE", "GOVERNOR_SCOPE", "REDIS_URL", "REDIS_URL_FILE", "REDIS_CA", "API_KEYS_FILE", "PORT", "FIRESTORE_DATABASE", "GOOGLE_CLOUD_PROJECT", "FUNCTION_TARGET", "OPERATORS", "PUBLIC_URL", "PUBSUB_AUDIENCE", "PUBSUB_SERVICE_ACCOUNT", "RECEIPT_KEY_FILE", "RECEIPT_KMS_KEY", "WEBHOOK_SECRETS"])) == 0
    error_message = "taiea_settings must not hold what follows from other variables, or is secret: AUTHENTICATION, SEALING_KEYS, SEALING_KEYS_FILE, GOVERNOR_SCOPE, REDIS_URL, REDIS_URL_FILE, REDIS_CA, API_KEYS_FILE, PORT, FIRESTORE_DATABASE, GOOGLE_CLOUD_PROJECT, FUNCTION_TARGET, OPERATORS, PUBLIC_URL, PUBSUB_AUDIENCE, PUBSUB_SERVICE_ACCOUNT, RECEIPT_KEY_FILE, RECEIPT_KMS_KEY, WEBHOOK_SECRETS."
  }
}

variable "telemetry" {
  description = "Whether metrics go to Cloud Monitoring and spans to Cloud Trace, with alerts and a dashboard. Without them there is nothing to compare releases by: they get all traffic at once. null for what the size has."
  type        = bool
  default     = null
}

variable "timeout" {
  description = "Seconds that a request may take."
  type        = number
  default     = 3600

  validation {
    condition     = var.timeout >= 1 && var.timeout <= 3600
    error_message = "timeout is from 1 to 3600 seconds."
  }
}

variable "unknown_tenants" {
  description = "UNKNOWN_TENANTS: allow lets in tenants that nobody has entered, deny those alone that the control plane knows."
  type        = string
  default     = "allow"

  validation {
    condition     = contains(["allow", "deny"], var.unknown_tenants)
    error_message = "unknown_tenants is allow or deny."
  }
}

variable "uptime" {
  description = "Whether uptime checks ask from outside, every minute, which keeps an instance up; null for what the size has."
  type        = bool
  default     = null
}

variable "webhook" {
  description = "Whether marketplaces and others without an account of Google's may send signed events to /v1/events/webhook, to a service of its own that everyone reaches and that serves nothing else."
  type        = bool
  default     = false

  validation {
    condition     = !(var.webhook && var.ingress == "INGRESS_TRAFFIC_INTERNAL_ONLY")
    error_message = "A webhook is called from outside, and ingress INGRESS_TRAFFIC_INTERNAL_ONLY keeps the outside away."
  }
}
