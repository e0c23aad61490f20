package rollout

import (
	"crypto/md5"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
)

// An api answers gcloud for a cloud, as the account that the access token names. It loses answers and refuses at random.
type api struct {
	mu    sync.Mutex
	cloud *cloud
	url   string
}

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	a.mu.Lock()
	defer a.mu.Unlock()
	c := a.cloud
	c.step() // time passes
	c.say("%s %s", r.Method, r.URL)
	account := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	fate := c.rand.Float64()
	switch {
	case fate < c.faulty/3:
		refuse(w, http.StatusTooManyRequests, "RESOURCE_EXHAUSTED")
		return
	case fate < 2*c.faulty/3:
		refuse(w, http.StatusServiceUnavailable, "UNAVAILABLE")
		return
	}
	status, answer := a.answer(r, account, body)
	if fate < c.faulty && r.Method == http.MethodPost { // it was done, and nobody hears of it
		if h, ok := w.(http.Hijacker); ok {
			if conn, _, err := h.Hijack(); err == nil {
				conn.Close()
				return
			}
		}
	}
	if status != http.StatusOK {
		refuse(w, status, fmt.Sprint(answer))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if text, ok := answer.(string); ok {
		io.WriteString(w, text)
		return
	}
	json.NewEncoder(w).Encode(answer)
}

func refuse(w http.ResponseWriter, status int, why string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{"code": status, "message": why, "status": why}})
}

type object = map[string]any

func (a *api) answer(r *http.Request, account string, body []byte) (int, any) {
	if bucket, ok := strings.CutPrefix(r.URL.Path, "/storage/v1/b/"); ok {
		return a.storage(r, account, bucket)
	}
	if strings.HasPrefix(r.URL.Path, "/upload/storage/v1/b/") {
		return a.upload(r, account, body)
	}
	location, rest, ok := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v1/"), "/"+region+"/")
	if !ok {
		return http.StatusNotFound, "no such API: " + r.URL.Path
	}
	parts, prefix := strings.Split(rest, "/"), location+"/"+region+"/"
	c := a.cloud
	on, pipeline := "", ""
	if parts[0] == "deliveryPipelines" && len(parts) > 1 {
		pipeline = parts[1]
		on = "pipeline:" + pipeline
		if c.pipelines[pipeline] == nil {
			return http.StatusNotFound, "no pipeline " + pipeline
		}
	}
	need := func(permission string) bool { return c.may(account, permission, on) }
	switch {
	case rest == "config":
		if !need("clouddeploy.config.get") {
			return http.StatusForbidden, "clouddeploy.config.get"
		}
		return http.StatusOK, object{"name": prefix + "config", "defaultSkaffoldVersion": "2.16"}
	case parts[0] == "targets":
		if !need("clouddeploy.targets.get") {
			return http.StatusForbidden, "clouddeploy.targets.get"
		}
		return http.StatusOK, object{"name": prefix + rest, "targetId": parts[1], "uid": "t", "run": object{"location": location + "/" + region}}
	case parts[0] == "operations":
		return http.StatusOK, object{"name": prefix + rest, "done": true}
	case len(parts) == 2:
		if !need("clouddeploy.deliveryPipelines.get") {
			return http.StatusForbidden, "clouddeploy.deliveryPipelines.get"
		}
		return http.StatusOK, a.pipelineObject(prefix, pipeline)
	case len(parts) == 3 && r.Method == http.MethodPost:
		return a.createRelease(r, account, prefix, pipeline, body)
	}
	known := c.releases[pipeline][parts[min(3, len(parts)-1)]]
	switch {
	case len(parts) == 3: // list
		if !need("clouddeploy.releases.list") {
			return http.StatusForbidden, "clouddeploy.releases.list"
		}
		list := []object{}
		for _, rel := range c.releases[pipeline] {
			list = append(list, a.releaseObject(prefix, rel))
		}
		return http.StatusOK, object{"releases": list}
	case parts[3] == "-" && len(parts) >= 5:
		return http.StatusOK, object{"rollouts": a.rollouts(prefix, pipeline, nil)}
	case known == nil:
		return http.StatusNotFound, "no release " + rest
	case len(parts) == 4:
		if !need("clouddeploy.releases.get") {
			return http.StatusForbidden, "clouddeploy.releases.get"
		}
		return http.StatusOK, a.releaseObject(prefix, known)
	case len(parts) == 5 && r.Method == http.MethodPost:
		if !need("clouddeploy.rollouts.create") {
			return http.StatusForbidden, "clouddeploy.rollouts.create"
		}
		id := r.URL.Query().Get("rolloutId")
		if slices.ContainsFunc(known.rollouts, func(o *rollout) bool { return o.name == id }) {
			return http.StatusConflict, "ALREADY_EXISTS"
		}
		c.roll(known, id, false)
		return http.StatusOK, a.done(prefix, prefix+rest+"/"+id, "Rollout")
	case len(parts) == 5:
		if !need("clouddeploy.rollouts.list") {
			return http.StatusForbidden, "clouddeploy.rollouts.list"
		}
		return http.StatusOK, object{"rollouts": a.rollouts(prefix, pipeline, known)}
	}
	for _, o := range a.rollouts(prefix, pipeline, known) {
		if o["name"] == prefix+rest {
			return http.StatusOK, o
		}
	}
	return http.StatusNotFound, rest
}

// createRelease makes a release if who asks may, also use the account as which its jobs run.
func (a *api) createRelease(r *http.Request, account, prefix, pipeline string, body []byte) (int, any) {
	c, id := a.cloud, r.URL.Query().Get("releaseId")
	var asked struct {
		SkaffoldConfigURI string `json:"skaffoldConfigUri"`
		BuildArtifacts    []struct{ Image, Tag string }
	}
	switch {
	case !c.may(account, "clouddeploy.releases.create", "pipeline:"+pipeline):
		return http.StatusForbidden, "clouddeploy.releases.create"
	case !c.may(account, "iam.serviceAccounts.actAs", "account:"+c.deploy):
		return http.StatusForbidden, "iam.serviceAccounts.actAs on " + c.deploy
	case c.releases[pipeline][id] != nil:
		return http.StatusConflict, "ALREADY_EXISTS"
	case json.Unmarshal(body, &asked) != nil || len(asked.BuildArtifacts) != 1 || asked.BuildArtifacts[0].Image != "erlmcp":
		return http.StatusBadRequest, "which image? " + string(body)
	}
	rel := &release{name: id, pipeline: pipeline}
	c.render(rel, strings.TrimPrefix(asked.SkaffoldConfigURI, "gs://"+c.bucket+"/"), asked.BuildArtifacts[0].Tag)
	if rel.fault != "" {
		c.say("%s of %s: %s", id, pipeline, rel.fault)
	}
	c.releases[pipeline][id] = rel
	return http.StatusOK, a.done(prefix, prefix+"deliveryPipelines/"+pipeline+"/releases/"+id, "Release")
}

// done is an operation that has ended.
func (a *api) done(prefix, name, kind string) object {
	return object{"name": prefix + "operations/op", "done": true, "metadata": object{"@type": "type.googleapis.com/google.cloud.deploy.v1.OperationMetadata", "target": name},
		"response": object{"@type": "type.googleapis.com/google.cloud.deploy.v1." + kind, "name": name}}
}

func (a *api) pipelineObject(prefix, name string) object {
	return object{"name": prefix + "deliveryPipelines/" + name, "uid": "p-" + name, "serialPipeline": object{"stages": []object{{"targetId": name}}}}
}

func (a *api) releaseObject(prefix string, r *release) object {
	return object{"name": prefix + "deliveryPipelines/" + r.pipeline + "/releases/" + r.name, "uid": r.name, "renderState": "SUCCEEDED", "createTime": "2026-01-26T10:00:00Z",
		"deliveryPipelineSnapshot": a.pipelineObject(prefix, r.pipeline),
		"targetSnapshots":          []object{{"name": prefix + "targets/" + r.pipeline, "targetId": r.pipeline, "run": object{"location": strings.TrimSuffix(prefix, "/")}}},
		"targetRenders":            object{r.pipeline: object{"renderingState": "SUCCEEDED"}}}
}

func (a *api) rollouts(prefix, pipeline string, of *release) []object {
	list := []object{}
	for i, o := range a.cloud.order {
		if o.release.pipeline == pipeline && (of == nil || o.release == of) {
			list = append(list, object{"name": prefix + "deliveryPipelines/" + pipeline + "/releases/" + o.release.name + "/rollouts/" + o.name, "state": o.state, "targetId": pipeline,
				"createTime": fmt.Sprintf("2026-01-26T10:%02d:%02dZ", i/60, i%60), "approvalState": "DOES_NOT_NEED_APPROVAL"})
		}
	}
	return list
}

func (a *api) storage(r *http.Request, account, path string) (int, any) {
	c := a.cloud
	bucket, rest, _ := strings.Cut(path, "/")
	if bucket != c.bucket {
		return http.StatusNotFound, "no bucket " + bucket
	}
	on := "bucket:" + bucket
	switch name, named := strings.CutPrefix(rest, "o/"); {
	case rest == "":
		if !c.may(account, "storage.buckets.get", on) {
			return http.StatusForbidden, "storage.buckets.get"
		}
		return http.StatusOK, object{"name": bucket, "location": "US"}
	case !named:
		if !c.may(account, "storage.objects.list", on) {
			return http.StatusForbidden, "storage.objects.list"
		}
		items := []object{}
		for name, content := range c.objects {
			if strings.HasPrefix(name, r.URL.Query().Get("prefix")) {
				items = append(items, a.stored(bucket, name, content))
			}
		}
		return http.StatusOK, object{"items": items}
	default:
		content, ok := c.objects[name]
		switch {
		case !c.may(account, "storage.objects.get", on):
			return http.StatusForbidden, "storage.objects.get"
		case !ok:
			return http.StatusNotFound, name
		case r.URL.Query().Get("alt") == "media":
			return http.StatusOK, content
		}
		return http.StatusOK, a.stored(bucket, name, content)
	}
}

func (a *api) stored(bucket, name, content string) object {
	md, crc := md5.Sum([]byte(content)), crc32.Checksum([]byte(content), crc32.MakeTable(crc32.Castagnoli))
	return object{"kind": "storage#object", "bucket": bucket, "name": name, "size": fmt.Sprint(len(content)), "generation": "1", "metageneration": "1",
		"md5Hash": base64.StdEncoding.EncodeToString(md[:]), "crc32c": base64.StdEncoding.EncodeToString([]byte{byte(crc >> 24), byte(crc >> 16), byte(crc >> 8), byte(crc)}),
		"mediaLink": a.url + "/storage/v1/b/" + bucket + "/o/" + url.PathEscape(name) + "?alt=media",
		"updated":   "2026-01-26T10:00:00Z", "timeCreated": "2026-01-26T10:00:00Z"}
}

func (a *api) upload(r *http.Request, account string, body []byte) (int, any) {
	bucket, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/upload/storage/v1/b/"), "/")
	if !a.cloud.may(account, "storage.objects.create", "bucket:"+bucket) {
		return http.StatusForbidden, "storage.objects.create"
	}
	_, boundary, _ := strings.Cut(r.Header.Get("Content-Type"), "boundary=") // not in quotes, as gcloud's library writes it
	parts := multipart.NewReader(strings.NewReader(string(body)), strings.Trim(boundary, `"'`))
	var content []byte
	for {
		part, err := parts.NextPart()
		if err != nil {
			break
		}
		content, _ = io.ReadAll(part) // the last is the content
	}
	name := r.URL.Query().Get("name")
	a.cloud.objects[name] = string(content)
	return http.StatusOK, a.stored(bucket, name, string(content))
}
