package infra

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// A landing zone, as variables name it.
const (
	ourKey  = "projects/keys/locations/us-central1/keyRings/ours/cryptoKeys/erlmcp"
	ourPool = "projects/builds/locations/us-central1/workerPools/private"
	hosted  = "projects/host/global/networks/ours"
	part    = "projects/host/regions/us-central1/subnetworks/ours-1"
)

// landed are variables of a landing zone of which every part is others': network, key, pool, and where logs go.
func landed(variables map[string]string) map[string]string {
	return with(variables, "network", "ours", "subnetwork", "ours-1", "network_project", "host", "kms_key", ourKey, "build_pool", ourPool, "static_egress", "true",
		"private_upstreams", `["10.1.0.0/16"]`, "log_sinks", `{archive="gs://my-logs",elastic="projects/logs/topics/erlmcp"}`)
}

// keyless have attributes for a key, and need none: name of the type to why.
var keyless = map[string]string{
	"google_storage_bucket_object": "has its bucket's",
	"google_cloudbuild_trigger":    "decrypts secrets of a build by it, of which there are none",
	"google_kms_key_ring":          "has keys",
}

// encrypted wants the key in each resource of a type that takes one, as the provider's own schema has it.
func encrypted(schemas map[string]schema, key string) rule {
	return func(rs []resource) string {
		var faults []string
		with := 0
		for _, r := range rs {
			takes := schemas[r.Type].Block.keys()
			if r.Type == "google_container_cluster" {
				takes = append(takes, "database_encryption.key_name") // of which the schema says nothing
			}
			if len(takes) == 0 || keyless[r.Type] != "" {
				continue
			}
			if with++; !holds(r.Values, takes, key) {
				faults = append(faults, fmt.Sprintf("%s takes a key (%s), and has none", r.Address, strings.Join(takes, ", ")))
			}
		}
		if with < 10 {
			faults = append(faults, fmt.Sprintf("%d take a key", with))
		}
		for _, m := range rs {
			if m.Type == "manifest" && annotation(m, ofTemplate, "run.googleapis.com/encryption-key") != key {
				faults = append(faults, m.Address+" brings no key")
			}
		}
		for _, c := range rs { // both Kubernetes' secrets and nodes' disks
			switch {
			case c.Type != "google_container_cluster":
			case c.Values["enable_autopilot"] == true:
				faults = append(faults, must(c, "database_encryption.0.key_name", key)+must(c, "cluster_autoscaling.0.auto_provisioning_defaults.0.boot_disk_kms_key", key))
			default:
				faults = append(faults, must(c, "database_encryption.0.key_name", key))
			}
		}
		return strings.Join(slices.DeleteFunc(faults, func(f string) bool { return f == "" }), "\n")
	}
}

var takesKey = regexp.MustCompile(`(?i)kms_key|encryption_key|customer_managed_key|customer.managed encryption|\bCMEK\b|Cloud KMS`)

// keys are the names of a block's attributes, at any depth, that take a key of Cloud KMS.
func (b block) keys() (names []string) {
	for name, a := range b.Attributes {
		if text, _ := a.Type.(string); text == "string" && (a.Optional || a.Required) && takesKey.MatchString(name+" "+a.Description) {
			names = append(names, name)
		}
	}
	for name, n := range b.Blocks {
		for _, k := range n.Block.keys() {
			names = append(names, name+"."+k)
		}
	}
	slices.Sort(names)
	return names
}

// holds tells whether one of some attributes at any depth is a value.
func holds(values map[string]any, paths []string, value string) bool {
	for _, p := range paths {
		at := []any{values}
		for name := range strings.SplitSeq(p, ".") {
			var next []any
			for _, v := range at {
				switch x := v.(type) {
				case map[string]any:
					if list, ok := x[name].([]any); ok {
						next = append(next, list...)
					} else {
						next = append(next, x[name])
					}
				}
			}
			at = next
		}
		if slices.Contains(at, any(value)) {
			return true
		}
	}
	return false
}

// usable wants the agents of all that takes the key to be let into it.
func usable(rs []resource) string {
	agents := map[string]string{"google_artifact_registry_repository": "gcp-sa-artifactregistry", "google_firestore_database": "gcp-sa-firestore", "google_pubsub_topic": "gcp-sa-pubsub",
		"google_redis_instance": "cloud-redis", "google_cloud_run_v2_service": "serverless-robot-prod", "google_secret_manager_secret": "gcp-sa-secretmanager",
		"google_storage_bucket": "gs-project-accounts", "google_container_cluster": "container-engine-robot"}
	var faults string
	for kind, agent := range agents {
		member := "serviceAccount:service-123456789012@" + agent + ".iam.gserviceaccount.com"
		let := slices.ContainsFunc(rs, func(r resource) bool {
			return r.Type == "google_kms_crypto_key_iam_member" && r.Values["member"] == member && r.Values["crypto_key_id"] == ourKey && r.Values["role"] == "roles/cloudkms.cryptoKeyEncrypterDecrypter"
		})
		if has(rs, kind) && !let {
			faults += member + " may not use the key. "
		}
	}
	return faults
}

// guest wants no network made, and everything to be in the one that is there.
func guest(rs []resource) string {
	var faults string
	for _, r := range rs {
		switch r.Type {
		case "google_compute_network", "google_compute_subnetwork", "google_compute_router", "google_compute_router_nat", "google_compute_address", "google_service_networking_connection":
			faults += r.Address + " is made in a network of others. "
		case "google_compute_global_address":
			if r.Values["purpose"] != nil && r.Values["purpose"] != "" { // a range of the network, and not where a balancer is
				faults += r.Address + " is of a network of others. "
			}
		case "google_redis_instance":
			faults += must(r, "authorized_network", hosted)
		case "google_container_cluster":
			faults += must(r, "network", hosted) + must(r, "subnetwork", part)
		case "manifest":
			at := resource{Values: map[string]any{"interfaces": annotation(r, ofTemplate, "run.googleapis.com/network-interfaces"), "egress": annotation(r, ofTemplate, "run.googleapis.com/vpc-access-egress")}}
			faults += must(at, "interfaces", fmt.Sprintf(`[{"network":%q,"subnetwork":%q}]`, hosted, part)) + must(at, "egress", "all-traffic")
		}
	}
	return faults
}

// located wants secrets in regions, and nowhere else.
func located(regions ...string) rule {
	return func(rs []resource) string {
		return each(rs, "google_secret_manager_secret", func(r resource) string {
			replicas, _ := r.At("replication.0.user_managed.0.replicas").([]any)
			var at []string
			for _, p := range replicas {
				at = append(at, fmt.Sprint(p.(map[string]any)["location"]))
			}
			if !slices.Equal(at, regions) || r.At("replication.0.auto.0") != nil {
				return fmt.Sprintf("is in %v, want %v", at, regions)
			}
			return ""
		})
	}
}

// fromOneAddress wants Cloud NAT with a reserved address, through which all goes.
func fromOneAddress(rs []resource) string {
	fault := each(rs, "google_compute_router_nat", func(r resource) string { return must(r, "nat_ip_allocate_option", "MANUAL_ONLY") }) +
		each(rs, "google_compute_address", func(r resource) string { return must(r, "address_type", "EXTERNAL") })
	for _, r := range rs {
		if egress := annotation(r, ofTemplate, "run.googleapis.com/vpc-access-egress"); r.Type == "manifest" && egress != "all-traffic" {
			fault += fmt.Sprintf("%s: %v goes through the network", r.Address, egress)
		}
	}
	return fault
}

// throttled wants a bound for each address before what is public.
func throttled(rs []resource) string {
	return each(rs, "google_compute_backend_service", func(r resource) string {
		if policy, known := r.Values["security_policy"]; known && policy == nil {
			return "has no policy"
		}
		return ""
	}) + each(rs, "google_compute_security_policy", func(r resource) string {
		rules, _ := r.Values["rule"].([]any)
		for _, v := range rules {
			v := resource{Values: v.(map[string]any)}
			if must(v, "action", "throttle")+must(v, "rate_limit_options.0.exceed_action", "deny(429)")+must(v, "rate_limit_options.0.enforce_on_key", "IP")+
				must(v, "rate_limit_options.0.rate_limit_threshold.0.count", 6000) == "" {
				return ""
			}
		}
		return fmt.Sprintf("bounds nothing: %v", rules)
	})
}

// pooled wants releases to work in the pool, and to be allowed to.
func pooled(rs []resource) string {
	return each(rs, "google_clouddeploy_target", func(r resource) string { return must(r, "execution_configs.0.worker_pool", ourPool) }) +
		each(rs, "google_clouddeploy_target", func(resource) string {
			for _, r := range rs {
				if r.Values["role"] == "roles/cloudbuild.workerPoolUser" && r.Values["project"] == "builds" {
					return ""
				}
			}
			return "nobody may use the pool"
		})
}

// handedOn wants logs of this environment alone in both places, whose writers are let in.
func handedOn(rs []resource) string {
	var to []string
	fault := each(rs, "google_logging_project_sink", func(r resource) string {
		to = append(to, fmt.Sprint(r.Values["destination"]))
		filter := fmt.Sprint(r.Values["filter"])
		if !strings.Contains(filter, `"erlmcp"`) && !strings.Contains(filter, `"erlmcp-cluster"`) || strings.Contains(filter, "cloudaudit") {
			return "hands on " + filter
		}
		return must(r, "unique_writer_identity", true)
	})
	slices.Sort(to)
	if want := "pubsub.googleapis.com/projects/logs/topics/erlmcp storage.googleapis.com/my-logs"; strings.Join(to, " ") != want {
		fault += fmt.Sprintf("logs go to %v, want %s", to, want)
	}
	for kind, role := range map[string]string{"google_storage_bucket_iam_member": "roles/storage.objectCreator", "google_pubsub_topic_iam_member": "roles/pubsub.publisher"} {
		if !slices.ContainsFunc(rs, func(r resource) bool {
			return r.Type == kind && strings.HasPrefix(r.Address, "module.logs") && r.Values["role"] == role
		}) {
			fault += "no " + kind + " for " + role
		}
	}
	return fault
}

// reaching wants the private addresses let through by the server's own guard, and on GKE by the network's policy.
func reaching(rs []resource) string {
	for _, r := range rs {
		if at, text := fmt.Sprint(r.Values["name"]), fmt.Sprint(r.Values["content"]); r.Type == "google_storage_bucket_object" && strings.HasSuffix(at, "release/kustomization.yaml") {
			if !strings.Contains(text, "EGRESS_ALLOW=10.1.0.0/16") || !strings.Contains(text, "functions-egress") {
				return r.Address + ": nothing lets to 10.1.0.0/16"
			}
			return ""
		}
	}
	return each(of("erlmcp", rs), "manifest", func(r resource) string { return must(env(r), "EGRESS_ALLOW", "10.1.0.0/16") })
}
