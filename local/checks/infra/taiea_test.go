package infra

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// of is what releases bring to Cloud Run of one of the two functions.
func of(function string, rs []resource) []resource {
	return slices.DeleteFunc(slices.Clone(rs), func(r resource) bool {
		return r.Type != "manifest" || r.At(container+".name") != function || env(r).Values["TAIEA_ROUTES"] != nil
	})
}

// apart wants two services of which neither runs as the other, or is called by the other's callers.
func apart(rs []resource) string {
	data, control := of("erlmcp", rs), of("taiea", rs)
	if len(data) != 1 || len(control) != 1 {
		return fmt.Sprintf("%d services erlmcp, %d taiea", len(data), len(control))
	}
	name := name(data[0])
	const account = "spec.template.spec.serviceAccountName"
	fault := must(control[0], "metadata.name", name+"-taiea") +
		must(data[0], account, name+"@my-project.iam.gserviceaccount.com") +
		must(control[0], account, name+"-taiea@my-project.iam.gserviceaccount.com")
	env := env(control[0])
	fault += must(env, "FUNCTION_TARGET", "taiea") + must(env, "PUBSUB_SERVICE_ACCOUNT", name+"-push@my-project.iam.gserviceaccount.com") +
		must(env, "PUBSUB_AUDIENCE", fmt.Sprint(env.Values["PUBLIC_URL"])+"/v1/events/pubsub")
	callers := map[any][]any{} // of each service
	for _, r := range rs {
		if r.Type == "google_cloud_run_v2_service_iam_member" && r.Values["role"] == "roles/run.invoker" && !strings.HasPrefix(r.Address, "module.delivery") {
			callers[r.Values["name"]] = append(callers[r.Values["name"]], r.Values["member"])
		}
	}
	for _, c := range callers[name+"-taiea"] {
		if slices.Contains(callers[name], c) {
			fault += fmt.Sprint(c, " calls both functions")
		}
	}
	if slices.Contains(callers[name], any("serviceAccount:"+fmt.Sprint(control[0].At(account)))) {
		fault += "the control plane calls the data plane"
	}
	return fault
}

// isAdds tells whether a role is the one that adds documents and neither changes nor deletes any.
func isAdds(role string) bool {
	return strings.HasPrefix(role, "projects/") && strings.HasSuffix(role, "_adds")
}

// separated wants each function's account to have these roles on databases and no others: the data plane can't change what operators order,
// and neither changes or deletes receipts. local/checks/world holds both to the same rights.
func separated(rs []resource) string {
	names := regexp.MustCompile(`databases/([a-z0-9-]+)`)
	stores := map[string]bool{} // whether each is three databases
	for _, r := range rs {
		if r.Type == "google_firestore_database" && !ofDrills(r) && partOf(r.Values["name"]) == "" {
			name := fmt.Sprint(r.Values["name"])
			stores[name] = slices.ContainsFunc(rs, func(r resource) bool { return r.Values["name"] == name+"-receipts" })
		}
	}
	var faults string
	for account, control := range map[string]string{"module.platform.module.identity": "view", "module.platform.module.taiea_identity": "use"} {
		want := map[string]string{}
		for name, apart := range stores {
			if want[name] = control; apart {
				want[name+"-usage"], want[name+"-receipts"] = "use", "add"
			} else {
				want[name] = "use"
			}
		}
		may := map[string]string{}
		for _, r := range rs {
			if r.Type != "google_project_iam_member" || !strings.HasPrefix(r.Address, account+"[") || r.At("condition.0.expression") == nil {
				continue
			}
			role := fmt.Sprint(r.Values["role"])
			word := map[string]string{"roles/datastore.user": "use", "roles/datastore.viewer": "view"}[role]
			if isAdds(role) {
				word = "add"
			}
			for _, m := range names.FindAllStringSubmatch(fmt.Sprint(r.At("condition.0.expression")), -1) {
				may[m[1]] += word
			}
		}
		if !maps.Equal(may, want) {
			faults += fmt.Sprintf("%s may %v, want %v", account, may, want)
		}
	}
	for _, r := range rs {
		if r.Type == "google_project_iam_custom_role" && strings.HasSuffix(fmt.Sprint(r.Values["role_id"]), "_adds") &&
			fmt.Sprint(r.Values["permissions"]) != "[datastore.databases.get datastore.entities.create datastore.entities.get datastore.entities.list]" {
			faults += fmt.Sprintf("%s has %v", r.Address, r.Values["permissions"])
		}
	}
	return faults
}

// ownSecrets wants each function's account to read what it is given, and nothing of the other's.
func ownSecrets(rs []resource) string {
	for _, r := range rs {
		id, member := fmt.Sprint(r.Values["secret_id"]), fmt.Sprint(r.Values["member"])
		if r.Type != "google_secret_manager_secret_iam_member" || strings.HasPrefix(r.Address, "module.release") {
			continue
		}
		control := strings.HasSuffix(member, "-taiea@my-project.iam.gserviceaccount.com")
		switch {
		case strings.HasSuffix(id, "-webhook-secrets") && strings.HasSuffix(member, "-webhook@my-project.iam.gserviceaccount.com"):
		case strings.HasSuffix(id, "-taiea-keys"), strings.HasSuffix(id, "-taiea-api-keys"), strings.HasSuffix(id, "-receipt-root-key"), strings.HasSuffix(id, "-webhook-secrets"):
			if !control {
				return r.Address + ": " + member + " reads what is the control plane's"
			}
		case strings.HasSuffix(id, "-api-keys"), strings.HasSuffix(id, "-policy"):
			if control {
				return r.Address + ": " + member + " reads what is the data plane's"
			}
		}
	}
	return ""
}

// onCluster wants each function's pods to act as an account of their own.
func onCluster(rs []resource) string {
	var pods, accounts []string
	for _, r := range rs {
		switch {
		case r.Values["role"] == "roles/iam.workloadIdentityUser":
			pods = append(pods, fmt.Sprint(r.Values["member"]))
		case r.Type == "google_service_account" && strings.Contains(r.Address, "identity"):
			accounts = append(accounts, fmt.Sprint(r.Values["account_id"]))
		}
	}
	slices.Sort(pods)
	slices.Sort(accounts)
	const pool = "serviceAccount:my-project.svc.id.goog"
	if !slices.Equal(pods, []string{pool + "[erlmcp/erlmcp]", pool + "[erlmcp/ops]", pool + "[erlmcp/taiea]"}) || len(accounts) != 2 || accounts[1] != accounts[0]+"-taiea" {
		return fmt.Sprintf("pods %v act as %v", pods, accounts)
	}
	return ""
}

// operated wants a control plane that lets in those whom the environment names, and Pub/Sub, and no one else.
func operated(who ...string) rule {
	return func(rs []resource) string {
		return each(of("taiea", rs), "manifest", func(r resource) string {
			name := name(r)
			var callers []string
			for _, m := range rs {
				if m.Type == "google_cloud_run_v2_service_iam_member" && m.Values["role"] == "roles/run.invoker" && m.Values["name"] == name && !strings.HasPrefix(m.Address, "module.delivery") {
					callers = append(callers, fmt.Sprint(m.Values["member"]))
				}
			}
			want := append(slices.Clone(who), "serviceAccount:"+strings.TrimSuffix(name, "taiea")+"push@my-project.iam.gserviceaccount.com")
			slices.Sort(callers)
			slices.Sort(want)
			if !slices.Equal(callers, want) {
				return fmt.Sprintf("lets in %v, want %v", callers, want)
			}
			return must(env(r), "AUTHENTICATION", "cloudrun")
		})
	}
}

// hooked is for a webhook: everyone reaches a service that serves signed events alone, and nothing else knows the senders' secrets.
func hooked(rs []resource) string {
	var open []string
	for _, r := range rs {
		if r.Values["member"] == "allUsers" {
			open = append(open, fmt.Sprint(r.Values["name"]))
		}
	}
	return must(resource{Values: map[string]any{"open": open}}, "open", []string{"erlmcp-webhook"}) + each(rs, "manifest", func(r resource) string {
		env := env(r)
		_, signed := env.Values["WEBHOOK_SECRETS"]
		if name(r) != "erlmcp-webhook" {
			return must(resource{Values: map[string]any{"it knows the senders' secrets": signed}}, "it knows the senders' secrets", false)
		}
		if !signed {
			return "no WEBHOOK_SECRETS"
		}
		return must(env, "TAIEA_ROUTES", "webhook") + must(env, "FUNCTION_TARGET", "taiea") + must(r, "spec.template.spec.serviceAccountName", "erlmcp-webhook@my-project.iam.gserviceaccount.com")
	})
}

// delivered wants events pushed to the control plane with a token of an account of its own, tried again, and kept where they
// are not taken.
func delivered(endpoint string) rule {
	return func(rs []resource) string {
		granted := map[string]bool{}
		for _, r := range rs {
			if r.Values["member"] == "serviceAccount:service-123456789012@gcp-sa-pubsub.iam.gserviceaccount.com" {
				granted[fmt.Sprintf("%v%v%v", r.Values["role"], r.Values["topic"], r.Values["subscription"])] = true
			}
		}
		return each(rs, "google_pubsub_subscription", func(r resource) string {
			fault := must(r, "message_retention_duration", "604800s") + must(r, "ack_deadline_seconds", 60) + must(r, "expiration_policy.0.ttl", "")
			name := fmt.Sprint(r.Values["name"])
			topic, dead := strings.CutSuffix(name, "-dead")
			if dead {
				return fault + must(r, "push_config", []any{})
			}
			var account string
			for _, a := range rs {
				if a.Type == "google_service_account" && strings.HasSuffix(fmt.Sprint(a.Values["account_id"]), "-push") {
					account = fmt.Sprint(a.Values["email"])
				}
			}
			for _, want := range []string{"roles/pubsub.publisher" + topic + "-dead<nil>", "roles/pubsub.subscriber<nil>" + name, "roles/iam.serviceAccountOpenIdTokenCreator<nil><nil>"} {
				if !granted[want] {
					fault += "Pub/Sub lacks " + want
				}
			}
			return fault + must(r, "push_config.0.push_endpoint", endpoint) + must(r, "push_config.0.oidc_token.0.audience", endpoint) +
				must(r, "push_config.0.oidc_token.0.service_account_email", account) + must(r, "dead_letter_policy.0.max_delivery_attempts", 10) +
				must(r, "retry_policy.0.minimum_backoff", "10s") + must(r, "retry_policy.0.maximum_backoff", "600s")
		})
	}
}

// signed wants both functions to have the key that vouches for receipts, as a file.
func signed(rs []resource) string {
	return each(rs, "manifest", func(r resource) string {
		file, _ := env(r).Values["RECEIPT_KEY_FILE"].(string)
		mounts, _ := r.At(container + ".volumeMounts").([]any)
		for _, m := range mounts {
			if at := fmt.Sprint(m.(map[string]any)["mountPath"]); file == at+"/value" && strings.HasSuffix(at, "-receipt-key") {
				return ""
			}
		}
		return fmt.Sprintf("RECEIPT_KEY_FILE is %q", file)
	})
}

// signedInKMS wants a key that never leaves Cloud KMS, both functions and the job of operations to sign with it and nobody else, and no key in a secret.
func signedInKMS(rs []resource) string {
	signers := 0
	fault := each(rs, "google_kms_crypto_key_iam_member", func(r resource) string {
		if !strings.Contains(r.Address, ".roots") { // for which there is a rule of their own
			signers++
		}
		return must(r, "role", "roles/cloudkms.signerVerifier")
	})
	if signers != 3 {
		fault += fmt.Sprintf("%d may sign, want both functions, and who signs backups", signers)
	}
	for _, r := range rs {
		if id := fmt.Sprint(r.At("secret_id")); r.Type == "google_secret_manager_secret" && strings.HasSuffix(id, "-receipt-key") {
			fault += r.Address + " is there too"
		}
	}
	return fault + each(rs, "google_kms_crypto_key", func(r resource) string {
		return must(r, "purpose", "ASYMMETRIC_SIGN") + must(r, "version_template.0.algorithm", "EC_SIGN_ED25519")
	})
}

// TestReceiptKey makes a key as the secret's version is made.
func TestReceiptKey(t *testing.T) {
	cmd := exec.Command("terraform", "console", "-no-color")
	cmd.Dir = t.TempDir()
	template, err := filepath.Abs(root + "infra/modules/secrets/receipt-key.tftpl")
	if err != nil {
		t.Fatal(err)
	}
	const seed = `0123456789!@#$%&*()-_=+[]{}<>:?a`
	cmd.Stdin = strings.NewReader(fmt.Sprintf("base64encode(templatefile(%q, { seed = %q }))\n", template, seed))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	text, err := base64.StdEncoding.DecodeString(strings.Trim(strings.TrimSpace(string(out)), `"`))
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	block, rest := pem.Decode(text)
	if block == nil || len(strings.TrimSpace(string(rest))) > 0 {
		t.Fatalf("not PEM: %q", text)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if private, ok := key.(ed25519.PrivateKey); !ok || string(private.Seed()) != seed {
		t.Errorf("the key is %T", key)
	}
}
