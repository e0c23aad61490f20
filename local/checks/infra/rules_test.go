package infra

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
)

// always are the rules for every plan.
var always = []rule{noPrimitiveRoles, noKeyFiles, redisIsSafe, firestoreIsKept, separated, probed, scopedAccounts, tlsAlone, budgeted, told, ownSecrets, failuresTold, namespaced, unattested}

// noPrimitiveRoles also refuses roles over the whole project that reach further than one job.
func noPrimitiveRoles(rs []resource) string {
	project := []string{"roles/clouddeploy.jobRunner", "roles/clouddeploy.viewer", "roles/monitoring.viewer", "roles/datastore.user", "roles/datastore.viewer", "roles/logging.logWriter", "roles/container.defaultNodeServiceAccount",
		"roles/monitoring.metricWriter", "roles/telemetry.tracesWriter", "roles/cloudbuild.workerPoolUser", "roles/containeranalysis.occurrences.editor"}
	var faults []string
	for _, r := range rs {
		role, _ := r.Values["role"].(string)
		switch {
		case role == "roles/owner" || role == "roles/editor" || role == "roles/viewer":
			faults = append(faults, r.Address+": primitive role "+role)
		case strings.HasSuffix(r.Type, "_iam_binding") || strings.HasSuffix(r.Type, "_iam_policy"):
			faults = append(faults, r.Address+": takes a role from all others")
		case r.Type == "google_project_iam_member" && !slices.Contains(project, role) && !isAdds(role) && !isReaches(role):
			faults = append(faults, r.Address+": "+role+" over the whole project")
		case (strings.HasPrefix(role, "roles/datastore.") || isAdds(role)) && r.At("condition.0.expression") == nil:
			faults = append(faults, r.Address+": on every database")
		}
	}
	return strings.Join(faults, "\n")
}

// isReaches tells whether a role is the one that reaches clusters and may do nothing in them.
func isReaches(role string) bool {
	return strings.HasPrefix(role, "projects/") && strings.HasSuffix(role, "_reaches")
}

// namespaced wants who deploys to a cluster to reach it and no more by IAM, which knows no namespaces. What it may do there its Role says,
// which local/checks/kubernetes tries.
func namespaced(rs []resource) (faults string) {
	for _, r := range rs {
		id, _ := r.Values["role_id"].(string)
		if role, _ := r.Values["role"].(string); strings.HasPrefix(role, "roles/container.") && role != "roles/container.defaultNodeServiceAccount" {
			faults += r.Address + ": " + role + " in all namespaces"
		}
		if r.Type == "google_project_iam_custom_role" && strings.HasSuffix(id, "_reaches") {
			faults += must(r, "permissions", []any{"container.clusters.connect", "container.clusters.get"})
		}
	}
	reach := 0
	for _, r := range rs {
		if role, _ := r.Values["role"].(string); isReaches(role) {
			reach++
			name := strings.ReplaceAll(strings.TrimSuffix(role[strings.LastIndex(role, "/")+1:], "_reaches"), "_", "-")
			faults += must(r, "member", "serviceAccount:"+name+"-deploy@my-project.iam.gserviceaccount.com")
		}
	}
	if want := map[bool]int{true: 1}[has(rs, "google_container_cluster")]; reach != want {
		faults += fmt.Sprintf("%d accounts deploy to a cluster, want %d", reach, want)
	}
	return faults
}

func noKeyFiles(rs []resource) string {
	for _, r := range rs {
		if r.Type == "google_service_account_key" || r.Type == "google_storage_hmac_key" {
			return r.Address + ": a key that could be lost"
		}
	}
	return ""
}

func has(rs []resource, kind string) bool {
	return slices.ContainsFunc(rs, func(r resource) bool { return r.Type == kind })
}

// notTwice wants nothing made of what another composition has made.
func notTwice(rs []resource) string {
	for _, r := range rs {
		if strings.HasPrefix(r.Address, "module.platform.") {
			return r.Address + " is made twice"
		}
	}
	return ""
}

func redisIsSafe(rs []resource) string {
	if !has(rs, "google_redis_instance") { // shared
		return ""
	}
	return each(rs, "google_redis_instance", func(r resource) string {
		return must(r, "transit_encryption_mode", "SERVER_AUTHENTICATION") + must(r, "auth_enabled", true) +
			must(r, "redis_configs.maxmemory-policy", "noeviction") +
			must(r, "connect_mode", "PRIVATE_SERVICE_ACCESS")
	})
}

// replicated is for the size production.
func replicated(rs []resource) string {
	return each(rs, "google_redis_instance", func(r resource) string { return must(r, "tier", "STANDARD_HA") })
}

func firestoreIsKept(rs []resource) string {
	if !has(rs, "google_firestore_database") {
		return ""
	}
	return each(rs, "google_firestore_database", func(r resource) string {
		if ofDrills(r) {
			return ""
		}
		if part := partOf(r.Values["name"]); part == "usage" || part == "receipts" && elsewhere(rs) {
			return must(r, "point_in_time_recovery_enablement", "POINT_IN_TIME_RECOVERY_DISABLED")
		}
		return must(r, "point_in_time_recovery_enablement", "POINT_IN_TIME_RECOVERY_ENABLED")
	}) + each(rs, "google_firestore_backup_schedule", func(r resource) string {
		if r.Values["retention"] == nil {
			return "no retention"
		}
		return ""
	}) + declared(rs)
}

// ofDrills tells whether a database has copies for the time of a drill alone.
func ofDrills(r resource) bool { return strings.HasSuffix(fmt.Sprint(r.Values["name"]), "-drill") }

// declared wants what the code declares of the store in each database, and nothing else, whatever the collections are.
func declared(rs []resource) (faults string) {
	for _, database := range rs {
		if database.Type == "google_firestore_database" {
			faults += declaredIn(fmt.Sprint(database.Values["name"]), rs)
		}
	}
	return faults
}

// partOf is what a database is for, where a store has three: usage or receipts, and "" for the first and for one that has all.
func partOf(database any) string {
	for _, part := range []string{"usage", "receipts"} {
		if strings.HasSuffix(fmt.Sprint(database), "-"+part) {
			return part
		}
	}
	return ""
}

// elsewhere tells whether receipts are copied to a bucket.
func elsewhere(rs []resource) bool {
	return slices.ContainsFunc(rs, func(r resource) bool {
		return r.Type == "google_storage_bucket" && strings.HasSuffix(fmt.Sprint(r.Values["name"]), "-backups")
	})
}

func declaredIn(database string, rs []resource) string {
	type field struct{ Collection, Field string }
	var want struct {
		Indexes []struct {
			Collection, Scope string
			Fields            []struct{ Path, Order string }
		}
		TTLs, Unindexed []field
		Apart           map[string][]string
	}
	text, err := os.ReadFile(root + "function/internal/store/firestore/declared.json")
	if err == nil {
		err = json.Unmarshal(text, &want)
	}
	if err != nil {
		return err.Error()
	}
	var wanted, planned []string
	part := partOf(database)
	there := func(collection string) bool { return part == "" || slices.Contains(want.Apart[part], collection) }
	for _, i := range want.Indexes {
		if !there(i.Collection) {
			continue
		}
		wanted = append(wanted, fmt.Sprint("index ", i.Collection, i.Scope, i.Fields))
	}
	for _, f := range slices.DeleteFunc(want.TTLs, func(f field) bool { return !there(f.Collection) }) {
		wanted = append(wanted, fmt.Sprint("ttl ", f))
	}
	for _, f := range slices.DeleteFunc(want.Unindexed, func(f field) bool { return !there(f.Collection) }) {
		wanted = append(wanted, fmt.Sprint("unindexed ", f))
	}
	for _, r := range rs {
		if r.Values["database"] != database {
			continue
		}
		switch r.Type {
		case "google_firestore_index":
			var fields []struct{ Path, Order string }
			list, _ := r.Values["fields"].([]any)
			for _, f := range list {
				f := f.(map[string]any)
				order, _ := f["order"].(string)
				if f["array_config"] == "CONTAINS" {
					order = "CONTAINS"
				}
				fields = append(fields, struct{ Path, Order string }{fmt.Sprint(f["field_path"]), order})
			}
			planned = append(planned, fmt.Sprint("index ", r.Values["collection"], r.Values["query_scope"], fields))
		case "google_firestore_field":
			kind := "unindexed"
			if r.At("ttl_config.0") != nil {
				kind = "ttl"
			}
			planned = append(planned, fmt.Sprintf("%s {%v %v}", kind, r.Values["collection"], r.Values["field"]))
		}
	}
	slices.Sort(wanted)
	slices.Sort(planned)
	if !slices.Equal(wanted, planned) {
		return fmt.Sprintf("%s gets %q, and the code declares %q", database, planned, wanted)
	}
	return ""
}

func probed(rs []resource) string {
	if !has(rs, "manifest") {
		return ""
	}
	egress := []any{"private-ranges-only", nil}
	if has(rs, "google_compute_address") || !has(rs, "google_compute_network") { // static, or a network of others
		egress = append(egress, "all-traffic")
	}
	return each(rs, "manifest", func(r resource) string {
		startup := map[any]string{"erlmcp": "/startup", "taiea": "/ready"}[r.At(container+".name")]
		return must(r, container+".startupProbe.httpGet.path", startup) +
			must(r, container+".livenessProbe.httpGet.path", "/health") +
			must(resource{Values: map[string]any{"egress": annotation(r, ofTemplate, "run.googleapis.com/vpc-access-egress")}}, "egress", egress...)
	})
}

// scopedAccounts wants a service account for everything that runs, and none of Google's defaults.
func scopedAccounts(rs []resource) string {
	for _, r := range rs {
		if a, _ := r.Values["service_account"].(string); strings.Contains(a, "compute@developer") || strings.Contains(a, "appspot") {
			return r.Address + ": runs as " + a
		}
	}
	return each(rs, "google_service_account", func(r resource) string { return "" })
}

func tlsAlone(rs []resource) string {
	for _, r := range rs {
		switch r.Type {
		case "google_compute_target_http_proxy":
			return r.Address + ": speaks in the clear"
		case "google_compute_global_forwarding_rule":
			if w := must(r, "port_range", "443"); w != "" {
				return r.Address + ": " + w
			}
		case "google_compute_ssl_policy":
			if w := must(r, "min_tls_version", "TLS_1_2"); w != "" {
				return r.Address + ": " + w
			}
		}
	}
	return ""
}

func watched(rs []resource) string {
	return each(rs, "google_monitoring_uptime_check_config", func(r resource) string {
		return must(r, "http_check.0.path", "/health") + must(r, "http_check.0.validate_ssl", true)
	})
}

func budgeted(rs []resource) string {
	return each(rs, "google_billing_budget", func(r resource) string { return "" })
}

// told wants somebody to be told of each alert, and what to do.
func told(rs []resource) string {
	return each(rs, "google_monitoring_alert_policy", func(r resource) string {
		var faults string
		if channels, planned := r.Values["notification_channels"].([]any); planned && len(channels) == 0 {
			faults += "nobody is told"
		}
		content, _ := r.At("documentation.0.content").(string)
		if subject, _ := r.At("documentation.0.subject").(string); subject == "" || !strings.Contains(content, "**Do**") || len(content) > 8192 {
			faults += fmt.Sprintf("no runbook, or one too long: %q, %d bytes", subject, len(content))
		}
		return faults
	})
}

// seen wants metrics and spans to get out, with alerts on them and a dashboard, all under the name of the environment.
func seen(name string, alerts int) rule {
	return func(rs []resource) string {
		n := 0
		fault := each(rs, "google_monitoring_alert_policy", func(r resource) string {
			query, _ := r.At("conditions.0.condition_prometheus_query_language.0.query").(string)
			if query == "" || ofPlatform(query) {
				return ofEnvironment(query, name)
			}
			n++
			return ofJob(query, name) + must(r, "conditions.0.condition_prometheus_query_language.0.disable_metric_validation", true) + must(r, "combiner", "OR")
		}) + each(rs, "google_monitoring_dashboard", func(r resource) string {
			text, _ := r.Values["dashboard_json"].(string)
			if !strings.Contains(text, `"displayName":"`+name+`"`) {
				return "not of " + name
			}
			text = strings.ReplaceAll(text, `\"`, `"`)
			return ofJob(text, name) + ofEnvironment(regexp.MustCompile(`job=~?"[^"]*"`).ReplaceAllString(text, ""), name)
		})
		if n != alerts {
			fault += fmt.Sprintf("%d alerts on metrics, want %d", n, alerts)
		}
		return fault
	}
}

// objective wants the console to show what infra/docs/telemetry.md promises, of the environment's own calls.
func objective(name string) rule {
	return func(rs []resource) string {
		series := func(metric string) string {
			return `resource.type="prometheus_target" AND resource.labels.job="` + name + `" AND metric.type="prometheus.googleapis.com/` + metric + `"`
		}
		n := 0
		fault := each(rs, "google_monitoring_slo", func(r resource) string {
			faults := must(r, "rolling_period_days", 30.0)
			switch n++; r.Values["slo_id"] {
			case "availability":
				return faults + must(r, "goal", 0.995) +
					must(r, "request_based_sli.0.good_total_ratio.0.bad_service_filter", series("erlmcp_errors_total/counter")+` AND metric.labels.type=monitoring.regex.full_match("panic|-32603|backpressure|shutting_down")`) +
					must(r, "request_based_sli.0.good_total_ratio.0.total_service_filter", series("erlmcp_requests_total/counter")+` AND metric.labels.outcome!="invalid"`)
			case "overhead":
				return faults + must(r, "goal", 0.99) + must(r, "request_based_sli.0.distribution_cut.0.distribution_filter", series("erlmcp_request_overhead_seconds/histogram")) +
					must(r, "request_based_sli.0.distribution_cut.0.range.0.max", 0.5)
			}
			return "nobody promised that"
		})
		if n != 2 {
			fault += fmt.Sprintf("%d objectives", n)
		}
		return fault
	}
}

// ofPlatform tells whether an alert is on what the platform itself measures.
func ofPlatform(query string) bool { return !strings.Contains(query, "job=") }

// ofJob wants a query on the server's own metrics to be of the job of that name, or of its control plane's too.
func ofJob(query, name string) string {
	rest := strings.NewReplacer(`job="`+name+`"`, "", `job=~"`+name+`(-taiea|-webhook)?"`, "").Replace(query)
	if rest == query || strings.Contains(rest, "job=") {
		return "not of " + name + ": " + query
	}
	return ""
}

// ofEnvironment wants a query on what the platform measures to be of the environment that a name is of.
func ofEnvironment(query, name string) string {
	prefix := strings.TrimSuffix(name, "-gke")
	for _, m := range regexp.MustCompile(`[=~]"(?:\.\*/instances/)?(erlmcp[^"]*)"`).FindAllStringSubmatch(query, -1) {
		if rest := strings.TrimPrefix(m[1], prefix); rest != "" && !slices.Contains([]string{"-ops", "-taiea", "-(taiea|webhook)", "(-taiea|-webhook)?", "-entitlements-dead", "-entitlements(-dead)?", "-(gke-)?health-.*"}, rest) {
			return fmt.Sprintf("%s is not of %s", m[1], prefix)
		}
	}
	return ""
}

// collected wants the collector beside the function, started before it.
func collected(rs []resource) string {
	return each(rs, "manifest", func(r resource) string {
		containers, _ := r.At("spec.template.spec.containers").([]any)
		if len(containers) != 2 {
			return fmt.Sprintf("%d containers", len(containers))
		}
		function, collector := resource{Values: containers[0].(map[string]any)}, resource{Values: containers[1].(map[string]any)}
		config, _ := environment(collector)["CONFIG"].(string)
		depends := annotation(r, ofTemplate, "run.googleapis.com/container-dependencies")
		return must(function, "name", "erlmcp", "taiea") + must(function, "ports.0.containerPort", 8080) +
			must(resource{Values: map[string]any{"depends": depends}}, "depends", fmt.Sprintf(`{"%s":["collector"]}`, function.Values["name"])) +
			must(collector, "name", "collector") + must(collector, "startupProbe.httpGet.port", 13133) + must(collector, "args", []any{"--config=env:CONFIG"}) +
			must(resource{Values: environment(function)}, "OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318") +
			must(resource{Values: environment(collector)}, "NAME", name(r)) +
			must(resource{Values: map[string]any{"configured": strings.Contains(config, "googlemanagedprometheus")}}, "configured", true)
	}) + grants(rs, "roles/monitoring.metricWriter", "roles/telemetry.tracesWriter")
}

// straight wants no collector, and each function to send to Google itself, by the names that the collector would give, as an account that may.
func straight(rs []resource) string {
	return each(rs, "manifest", func(r resource) string {
		containers, _ := r.At("spec.template.spec.containers").([]any)
		if len(containers) != 1 || annotation(r, ofTemplate, "run.googleapis.com/container-dependencies") != nil {
			return fmt.Sprintf("%d containers", len(containers))
		}
		set := resource{Values: environment(resource{Values: containers[0].(map[string]any)})}
		return must(set, "OTEL_EXPORTER_OTLP_ENDPOINT", "https://telemetry.googleapis.com") + must(set, "OTEL_SERVICE_NAME", name(r)) +
			must(set, "OTEL_RESOURCE_ATTRIBUTES", "cluster=__run__,location=us-central1,namespace="+name(r)) + must(set, "GOOGLE_CLOUD_PROJECT", "my-project")
	}) + grants(rs, "roles/monitoring.metricWriter", "roles/telemetry.tracesWriter")
}

// environment is the variables of a container; null for those that are secrets.
func environment(container resource) map[string]any {
	out := map[string]any{}
	list, _ := container.Values["env"].([]any)
	for _, e := range list {
		e := e.(map[string]any)
		out[fmt.Sprint(e["name"])] = e["value"]
	}
	return out
}

// unseen is for telemetry = false: nothing of it is left.
func unseen(rs []resource) string {
	var fault string
	if has(rs, "google_monitoring_dashboard") {
		fault += "a dashboard of nothing"
	}
	return fault + each(rs, "manifest", func(r resource) string {
		containers, _ := r.At("spec.template.spec.containers").([]any)
		if len(containers) != 1 || strings.Contains(fmt.Sprint(containers), "OTEL_") || strings.Contains(fmt.Sprint(containers), "collector") {
			return "a collector"
		}
		return ""
	}) + grants(rs) + seenNothing(rs)
}

func seenNothing(rs []resource) string {
	return each(rs, "google_monitoring_alert_policy", func(r resource) string {
		if query, _ := r.At("conditions.0.condition_prometheus_query_language.0.query").(string); query != "" && !ofPlatform(query) {
			return "an alert on nothing"
		}
		return ""
	})
}

// grants holds which roles over the project each function's account has.
func grants(rs []resource, want ...string) string {
	var faults string
	for _, module := range []string{"module.platform.module.identity", "module.platform.module.taiea_identity"} {
		var roles []string
		for _, r := range rs {
			if r.Type == "google_project_iam_member" && strings.HasPrefix(r.Address, module) && r.At("condition.0") == nil { // others are on databases
				roles = append(roles, fmt.Sprint(r.Values["role"]))
			}
		}
		slices.Sort(roles)
		if !slices.Equal(roles, want) {
			faults += fmt.Sprintf("%s may %v, want %v", module, roles, want)
		}
	}
	return faults
}

// protected is for production.
func protected(rs []resource) string {
	return each(rs, "google_redis_instance google_secret_manager_secret google_cloud_run_v2_service google_container_cluster", func(r resource) string {
		return must(r, "deletion_protection", true)
	}) + each(rs, "google_firestore_database", func(r resource) string {
		if ofDrills(r) {
			return ""
		}
		return must(r, "delete_protection_state", "DELETE_PROTECTION_ENABLED")
	})
}

// closed is for all that was not asked to be public.
func closed(rs []resource) string {
	for _, r := range rs {
		if m := fmt.Sprint(r.Values["member"]); m == "allUsers" || m == "allAuthenticatedUsers" {
			return r.Address + ": lets in " + m
		}
		if strings.Contains(r.Type, "firewall") && strings.Contains(fmt.Sprint(r.Values["source_ranges"]), "0.0.0.0/0") {
			return r.Address + ": lets in everyone"
		}
	}
	return ""
}

func scalesToZero(rs []resource) string {
	return each(rs, "manifest", func(r resource) string {
		most := map[any]string{"erlmcp": "100", "taiea": "2"}[r.At(container+".name")]
		scale := resource{Values: map[string]any{"min": annotation(r, ofService, "run.googleapis.com/minScale"), "max": annotation(r, ofTemplate, "autoscaling.knative.dev/maxScale"),
			"throttled": annotation(r, ofTemplate, "run.googleapis.com/cpu-throttling")}}
		return must(scale, "min", "0") + must(scale, "max", most) + must(scale, "throttled", "false") +
			must(r, container+".resources.limits.cpu", "1") + must(r, container+".resources.limits.memory", "1Gi") +
			must(r, "spec.template.spec.timeoutSeconds", map[string]int{"100": 3600, "2": 900}[most])
	})
}

// released wants the trigger on a tag, and what its account may do.
func released(rs []resource) string {
	fault := each(rs, "google_cloudbuild_trigger", func(r resource) string {
		return must(r, "filename", "cloudbuild.yaml") + must(r, "repository_event_config.0.push.0.tag", `^v[0-9]+\.[0-9]+\.[0-9]+$`)
	})
	for module, want := range map[string][]string{
		// What builds may change nothing that runs: it hands over, to an account that runs none of the source's tests.
		"module.release": {"roles/artifactregistry.writer", "roles/clouddeploy.releaser", "roles/clouddeploy.releaser", "roles/clouddeploy.releaser", "roles/clouddeploy.viewer", "roles/iam.serviceAccountUser",
			"roles/logging.logWriter", "roles/secretmanager.secretAccessor", "roles/storage.bucketViewer", "roles/storage.objectUser"},
		"module.delivery": {"roles/artifactregistry.reader", "roles/clouddeploy.jobRunner", "roles/clouddeploy.operator", "roles/clouddeploy.operator", "roles/clouddeploy.operator",
			"roles/iam.serviceAccountOpenIdTokenCreator", "roles/iam.serviceAccountUser", "roles/iam.serviceAccountUser", "roles/iam.serviceAccountUser", "roles/iam.serviceAccountUser", "roles/logging.logWriter",
			"roles/monitoring.viewer", "roles/run.developer", "roles/run.developer", "roles/run.developer", "roles/run.invoker", "roles/run.invoker", "roles/storage.objectUser"}, // of both functions and the job
	} {
		var roles []string
		for _, r := range rs {
			if strings.HasPrefix(r.Address, module) && r.Values["role"] != nil {
				roles = append(roles, fmt.Sprint(r.Values["role"]))
			}
		}
		slices.Sort(roles)
		if !slices.Equal(roles, want) {
			fault += fmt.Sprintf("%s may %v, want %v", module, roles, want)
		}
	}
	return fault
}

func behindBalancer(rs []resource) string {
	return each(of("erlmcp", rs), "manifest", func(r resource) string {
		return must(resource{Values: map[string]any{"ingress": annotation(r, ofService, "run.googleapis.com/ingress")}}, "ingress", "internal-and-cloud-load-balancing")
	}) + each(rs, "google_compute_target_https_proxy", func(r resource) string { return "" })
}

func privateNodes(rs []resource) string {
	return each(rs, "google_container_cluster", func(r resource) string {
		return must(r, "private_cluster_config.0.enable_private_nodes", true) + must(r, "gateway_api_config.0.channel", "CHANNEL_STANDARD")
	})
}

func guidesNodes(rs []resource) string {
	return each(rs, "google_container_node_pool", func(r resource) string {
		return must(r, "node_config.0.machine_type", "n1-standard-2") + must(r, "autoscaling.0.min_node_count", 3) + must(r, "autoscaling.0.max_node_count", 10) +
			must(r, "node_config.0.workload_metadata_config.0.mode", "GKE_METADATA")
	}) + each(rs, "google_container_cluster", func(r resource) string {
		return must(r, "workload_identity_config.0.workload_pool", "my-project.svc.id.goog") + must(r, "location", "us-central1-a")
	})
}
