package infra

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// alone is for the size try: nothing is paid for while nobody calls, and each of the two functions knows that nobody counts with it.
func alone(rs []resource) string {
	var faults []string
	for _, r := range rs {
		kept := []string{"google_redis_instance", "google_service_networking_connection", "google_monitoring_uptime_check_config"}
		if slices.Contains(kept, r.Type) || strings.HasPrefix(r.Type, "google_compute_") {
			faults = append(faults, r.Address+" is paid for, or kept for what is")
		}
	}
	return strings.Join(faults, "\n") + each(rs, "manifest", func(r resource) string {
		env := env(r)
		for _, name := range []string{"REDIS_URL_FILE", "REDIS_CA"} {
			if _, ok := env.Values[name]; ok {
				return name + " of a Redis that is not there"
			}
		}
		for _, name := range []string{"run.googleapis.com/network-interfaces", "run.googleapis.com/vpc-access-egress"} {
			if annotation(r, ofTemplate, name) != nil {
				return name + " of a network that is not there"
			}
		}
		return must(env, "GOVERNOR_SCOPE", "instance")
	})
}

// shared wants instances to count together, in a Redis that they reach.
func shared(rs []resource) string {
	return each(rs, "google_redis_instance", func(r resource) string { return must(r, "memory_size_gb", 1) }) +
		each(rs, "google_service_networking_connection", func(resource) string { return "" }) +
		each(rs, "manifest", func(r resource) string {
			env := env(r)
			if _, ok := env.Values["REDIS_URL_FILE"]; !ok {
				return "no REDIS_URL_FILE"
			}
			if _, ok := env.Values["GOVERNOR_SCOPE"]; ok {
				return "GOVERNOR_SCOPE beside Redis"
			}
			if network, _ := annotation(r, ofTemplate, "run.googleapis.com/network-interfaces").(string); !strings.Contains(network, "erlmcp") {
				return "no way to Redis"
			}
			return must(resource{Values: map[string]any{"egress": annotation(r, ofTemplate, "run.googleapis.com/vpc-access-egress")}}, "egress", "private-ranges-only")
		})
}

// natless is for networks in which there are no nodes.
func natless(rs []resource) string {
	if has(rs, "google_compute_router_nat") || has(rs, "google_compute_router") {
		return "Cloud NAT, by which nothing goes out"
	}
	return ""
}

// sized wants none of the data plane's instances kept, so many at most, and their processor taken away between requests or not.
func sized(most, throttled string) rule {
	return func(rs []resource) string {
		return each(of("erlmcp", rs), "manifest", func(r resource) string {
			scale := resource{Values: map[string]any{"min": annotation(r, ofService, "run.googleapis.com/minScale"),
				"max": annotation(r, ofTemplate, "autoscaling.knative.dev/maxScale"), "throttled": annotation(r, ofTemplate, "run.googleapis.com/cpu-throttling")}}
			return must(scale, "min", "0") + must(scale, "max", most) + must(scale, "throttled", throttled)
		})
	}
}

// sizesTable is the table of infra/docs/sizes.md: what infra/cloudrun/main.tf says of each size, line by line, and what each costs.
func sizesTable(t *testing.T, bills map[string]bill) string {
	t.Helper()
	text, err := os.ReadFile(root + "infra/cloudrun/main.tf")
	if err != nil {
		t.Fatal(err)
	}
	sizes := []string{"try", "small", "production"}
	var names []string
	values := map[string]string{}
	for _, size := range sizes {
		block := regexp.MustCompile(`(?ms)^    ` + size + ` = \{\n(.*?)^    \}$`).FindStringSubmatch(string(text))
		if block == nil {
			t.Fatalf("infra/cloudrun/main.tf has no size %s", size)
		}
		for _, l := range regexp.MustCompile(`(?m)^      (\w+) += (.*?)(?: #.*)?$`).FindAllStringSubmatch(block[1], -1) {
			if values[size+l[1]] = l[2]; size == sizes[0] {
				names = append(names, l[1])
			}
		}
	}
	table := "| | try | small | production, the default |\n|---|---|---|---|\n"
	for _, name := range names {
		table += fmt.Sprintf("| `%s` | `%s` | `%s` | `%s` |\n", name, values["try"+name], values["small"+name], values["production"+name])
	}
	runs := []bill{bills["cloudrun try"], bills["cloudrun small"], bills["cloudrun default"]}
	row := func(what string, of func(bill) map[string]float64) {
		table += "| " + what + " |"
		for _, b := range runs {
			table += fmt.Sprintf(" %.2f $ |", of(b)["total"])
		}
		table += "\n"
	}
	row("costs idle, a month", func(b bill) map[string]float64 { return b.Idle })
	row("costs for a million calls", func(b bill) map[string]float64 { return b.Million })
	row("costs for a release", func(b bill) map[string]float64 { return b.Release })
	return table
}
