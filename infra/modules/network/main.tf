# The network in which functions, Redis and, on GKE, nodes and pods have their addresses.

resource "google_compute_network" "this" {
  project                 = var.project
  name                    = "${var.name}-network"
  auto_create_subnetworks = false
}

resource "google_compute_subnetwork" "this" {
  project                  = var.project
  name                     = "${var.name}-${var.region}"
  region                   = var.region
  network                  = google_compute_network.this.id
  ip_cidr_range            = var.ranges.nodes
  private_ip_google_access = true # Firestore and Secret Manager without public addresses

  secondary_ip_range {
    range_name    = "pods"
    ip_cidr_range = var.ranges.pods
  }
  secondary_ip_range {
    range_name    = "services"
    ip_cidr_range = var.ranges.services
  }
}

# Memorystore lives in a network of Google's that is peered with this one.
resource "google_compute_global_address" "services" {
  project       = var.project
  name          = "${var.name}-google-services"
  network       = google_compute_network.this.id
  purpose       = "VPC_PEERING"
  address_type  = "INTERNAL"
  prefix_length = 20
}

resource "google_service_networking_connection" "services" {
  network                 = google_compute_network.this.id
  service                 = "servicenetworking.googleapis.com"
  reserved_peering_ranges = [google_compute_global_address.services.name]
  deletion_policy         = "ABANDON" # Google frees the producer's side hours after Redis is gone
}

# Nodes without public addresses reach issuers of tokens and tools' upstreams through it.
resource "google_compute_router" "this" {
  count   = var.nat ? 1 : 0
  project = var.project
  name    = "${var.name}-router"
  region  = var.region
  network = google_compute_network.this.id
}

# From which others see what comes from here, and can let it in.
resource "google_compute_address" "egress" {
  count   = var.nat && var.static ? 1 : 0
  project = var.project
  name    = "${var.name}-egress"
  region  = var.region
}

resource "google_compute_router_nat" "this" {
  count                              = var.nat ? 1 : 0
  project                            = var.project
  name                               = "${var.name}-nat"
  router                             = google_compute_router.this[0].name
  region                             = var.region
  nat_ip_allocate_option             = var.static ? "MANUAL_ONLY" : "AUTO_ONLY"
  nat_ips                            = var.static ? google_compute_address.egress[*].self_link : null
  source_subnetwork_ip_ranges_to_nat = "ALL_SUBNETWORKS_ALL_IP_RANGES"

  log_config {
    enable = true
    filter = "ERRORS_ONLY"
  }
}
