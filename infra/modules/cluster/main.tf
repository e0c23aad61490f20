# A GKE cluster with private nodes and Workload Identity: Autopilot, or Standard with one pool of 3 to 10 nodes.

resource "google_container_cluster" "this" {
  project             = var.project
  name                = "${var.name}-cluster"
  location            = var.autopilot ? var.region : var.zone
  network             = var.network
  subnetwork          = var.subnetwork
  networking_mode     = "VPC_NATIVE"
  deletion_protection = var.protected
  resource_labels     = var.labels

  enable_autopilot         = var.autopilot ? true : null
  remove_default_node_pool = var.autopilot ? null : true
  initial_node_count       = var.autopilot ? null : 1
  datapath_provider        = var.autopilot ? null : "ADVANCED_DATAPATH" # enforces network policies

  ip_allocation_policy {
    cluster_secondary_range_name  = var.secondary_ranges.pods
    services_secondary_range_name = var.secondary_ranges.services
  }

  private_cluster_config {
    enable_private_nodes    = true
    enable_private_endpoint = false
  }

  # Without public addresses of operators the API is reached by its DNS name, through IAM.
  control_plane_endpoints_config {
    dns_endpoint_config {
      allow_external_traffic = true
    }
  }

  master_authorized_networks_config {
    gcp_public_cidrs_access_enabled = false

    dynamic "cidr_blocks" {
      for_each = var.operators
      content {
        cidr_block   = cidr_blocks.value
        display_name = cidr_blocks.key
      }
    }
  }

  dynamic "workload_identity_config" {
    for_each = var.autopilot ? [] : [1] # Autopilot has it always
    content {
      workload_pool = "${var.project}.svc.id.goog"
    }
  }

  dynamic "binary_authorization" {
    for_each = var.signed ? [1] : []
    content {
      evaluation_mode = "PROJECT_SINGLETON_POLICY_ENFORCE"
    }
  }

  # Kubernetes' secrets; nodes' disks have the key, too.
  dynamic "database_encryption" {
    for_each = var.kms_key[*]
    content {
      state    = "ENCRYPTED"
      key_name = database_encryption.value
    }
  }

  gateway_api_config {
    channel = "CHANNEL_STANDARD"
  }

  release_channel {
    channel = "REGULAR"
  }

  # Autopilot's nodes, which need an account of their own too.
  dynamic "cluster_autoscaling" {
    for_each = var.autopilot ? [1] : []
    content {
      auto_provisioning_defaults {
        service_account   = google_service_account.nodes.email
        oauth_scopes      = ["https://www.googleapis.com/auth/cloud-platform"]
        boot_disk_kms_key = var.kms_key
      }
    }
  }
}

resource "google_container_node_pool" "this" {
  count    = var.autopilot ? 0 : 1
  project  = var.project
  name     = var.name
  location = var.zone
  cluster  = google_container_cluster.this.name

  initial_node_count = var.nodes.min

  autoscaling {
    min_node_count = var.nodes.min
    max_node_count = var.nodes.max
  }

  management {
    auto_repair  = true
    auto_upgrade = true
  }

  upgrade_settings {
    max_surge       = 1
    max_unavailable = 0
  }

  node_config {
    machine_type      = var.nodes.machine_type
    service_account   = google_service_account.nodes.email
    oauth_scopes      = ["https://www.googleapis.com/auth/cloud-platform"]
    labels            = var.labels
    boot_disk_kms_key = var.kms_key

    shielded_instance_config {
      enable_secure_boot          = true
      enable_integrity_monitoring = true
    }

    workload_metadata_config {
      mode = "GKE_METADATA"
    }

    metadata = { disable-legacy-endpoints = "true" }
  }

  lifecycle {
    ignore_changes = [initial_node_count]
  }
}

# Nodes are not the function: they pull images, and write logs and metrics.
resource "google_service_account" "nodes" {
  project      = var.project
  account_id   = "${var.name}-nodes"
  display_name = "Nodes of ${var.name}-cluster"
}

resource "google_project_iam_member" "nodes" {
  project = var.project
  role    = "roles/container.defaultNodeServiceAccount"
  member  = google_service_account.nodes.member
}

resource "google_artifact_registry_repository_iam_member" "nodes" {
  project    = var.project
  location   = var.region
  repository = var.registry
  role       = "roles/artifactregistry.reader"
  member     = google_service_account.nodes.member
}
