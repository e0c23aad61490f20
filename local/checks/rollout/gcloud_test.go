package rollout

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestMain lets this program stand for gcloud, which takes seconds a command: schedules are drawn by the hundred. TestReleases has the
// real one take the same way.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "gcloud" {
		if err := (&stand{os.Getenv("CLOUD"), os.Getenv("CLOUDSDK_AUTH_ACCESS_TOKEN")}).run(os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, "ERROR:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// A stand asks the API what gcloud asks, in its order, for the commands of infra/release, and tries again what gcloud does: what was refused
// for now, and no POST of which it is not known whether it was taken.
type stand struct{ url, token string }

func (s *stand) run(args []string) error {
	flags, words := map[string]string{}, []string{}
	for i := 0; i < len(args); i++ {
		switch name, ok := strings.CutPrefix(args[i], "--"); {
		case !ok:
			words = append(words, args[i])
		case name == "quiet" || name == "recursive":
		default:
			i++
			flags[name] = args[i]
		}
	}
	at := fmt.Sprintf("/v1/projects/%s/locations/%s/", flags["project"], flags["region"])
	of := at + "deliveryPipelines/" + flags["delivery-pipeline"]
	switch command := strings.Join(words[:min(3, len(words))], " "); {
	case command == "deploy releases describe":
		_, err := s.get(of + "/releases/" + words[3])
		return err
	case command == "deploy rollouts list":
		out, err := s.get(of + "/releases/" + flags["release"] + "/rollouts")
		if err != nil {
			return err
		}
		list, _ := out["rollouts"].([]any)
		slices.SortFunc(list, func(a, b any) int {
			return cmp.Compare(fmt.Sprint(b.(map[string]any)["createTime"]), fmt.Sprint(a.(map[string]any)["createTime"]))
		})
		if len(list) > 0 {
			fmt.Println(list[0].(map[string]any)["state"])
		}
		return nil
	case command == "deploy releases create":
		return s.create(at, of, words[3], flags)
	case command == "deploy releases promote":
		return s.promote(of, flags["release"])
	case strings.HasPrefix(command, "storage cp"):
		return s.copy(words[2], words[3])
	default:
		return errors.New("no such command: " + command)
	}
}

func (s *stand) create(at, of, name string, flags map[string]string) error {
	if _, err := s.get(of); err != nil {
		return err
	}
	bucket, folder, _ := strings.Cut(strings.TrimPrefix(flags["gcs-source-staging-dir"], "gs://"), "/")
	if _, err := s.get("/storage/v1/b/" + bucket); err != nil {
		return err
	}
	archive, err := pack(flags["source"])
	if err != nil {
		return err
	}
	object := fmt.Sprintf("%s/%s-%d.tgz", folder, name, os.Getpid())
	body := "--x\r\nContent-Type: application/json\r\n\r\n{}\r\n--x\r\nContent-Type: application/x-tar\r\n\r\n" + string(archive) + "\r\n--x--\r\n"
	if _, err := s.do(http.MethodPost, "/upload/storage/v1/b/"+bucket+"/o?uploadType=multipart&name="+url.QueryEscape(object), "multipart/related; boundary=x", body); err != nil {
		return err
	}
	image, tag, _ := strings.Cut(flags["images"], "=")
	asked, _ := json.Marshal(map[string]any{"skaffoldConfigUri": "gs://" + bucket + "/" + object, "buildArtifacts": []map[string]string{{"image": image, "tag": tag}}})
	if _, err := s.do(http.MethodPost, of+"/releases?releaseId="+name, "application/json", string(asked)); err != nil {
		return err
	}
	return s.promote(of, name)
}

// promote makes a rollout to the pipeline's first target, as gcloud names it.
func (s *stand) promote(of, release string) error {
	if _, err := s.get(of + "/releases/" + release); err != nil {
		return err
	}
	out, err := s.get(of + "/releases/" + release + "/rollouts")
	if err != nil {
		return err
	}
	list, _ := out["rollouts"].([]any)
	id := fmt.Sprintf("%s-to-%s-%04d", release, of[strings.LastIndex(of, "/")+1:], len(list)+1)
	_, err = s.do(http.MethodPost, of+"/releases/"+release+"/rollouts?rolloutId="+id, "application/json", "{}")
	return err
}

func (s *stand) copy(from, to string) error {
	bucket, prefix, _ := strings.Cut(strings.TrimPrefix(strings.TrimSuffix(from, "*"), "gs://"), "/")
	out, err := s.get("/storage/v1/b/" + bucket + "/o?prefix=" + url.QueryEscape(prefix))
	if err != nil {
		return err
	}
	items, _ := out["items"].([]any)
	for _, i := range items {
		name := fmt.Sprint(i.(map[string]any)["name"])
		text, err := s.do(http.MethodGet, "/storage/v1/b/"+bucket+"/o/"+url.PathEscape(name)+"?alt=media", "", "")
		if err != nil {
			return err
		}
		file := filepath.Join(to, strings.TrimPrefix(name, prefix))
		if err := os.WriteFile(file, text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (s *stand) get(path string) (map[string]any, error) {
	text, err := s.do(http.MethodGet, path, "", "")
	if err != nil {
		return nil, err
	}
	var out map[string]any
	return out, json.Unmarshal(text, &out)
}

func (s *stand) do(method, path, kind, body string) ([]byte, error) {
	for try := 0; ; try++ {
		req, err := http.NewRequest(method, s.url+path, strings.NewReader(body))
		if err != nil {
			return nil, err
		}
		req.Header.Set("Authorization", "Bearer "+s.token)
		req.Header.Set("Content-Type", kind)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return nil, err
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		switch {
		case err != nil:
			return nil, err
		case resp.StatusCode == http.StatusOK:
			return text, nil
		case try < 3 && (resp.StatusCode == http.StatusServiceUnavailable || resp.StatusCode == http.StatusTooManyRequests):
		default:
			return nil, fmt.Errorf("%s %s: %s %s", method, path, resp.Status, text)
		}
	}
}

func pack(dir string) ([]byte, error) {
	var out bytes.Buffer
	zipped := gzip.NewWriter(&out)
	w := tar.NewWriter(zipped)
	if err := w.AddFS(os.DirFS(dir)); err != nil {
		return nil, err
	}
	if err := errors.Join(w.Close(), zipped.Close()); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
