package kubernetes

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// filesAreMounted wants each file that a process is told of to be among the keys of the secret that is mounted there: a server does not start
// without.
func filesAreMounted(t *testing.T, manifests string) {
	var objects []object
	for decoder := yaml.NewDecoder(strings.NewReader(manifests)); ; {
		var o map[string]any
		if err := decoder.Decode(&o); err != nil {
			break
		}
		objects = append(objects, o)
	}
	told := 0
	for _, o := range objects {
		pods := o.at("spec", "template", "spec")
		if o.kind() == "CronJob" {
			pods = o.at("spec", "jobTemplate", "spec", "template", "spec")
		} else if o.kind() != "Deployment" {
			continue
		}
		text, err := yaml.Marshal(pods)
		if err != nil {
			t.Fatal(err)
		}
		var spec struct {
			Containers []struct {
				Env     []struct{ Name, Value string }
				EnvFrom []struct {
					ConfigMapRef struct{ Name string } `yaml:"configMapRef"`
				} `yaml:"envFrom"`
				VolumeMounts []struct {
					Name      string
					MountPath string `yaml:"mountPath"`
				} `yaml:"volumeMounts"`
			}
			Volumes []struct {
				Name   string
				Secret struct{ Items []struct{ Key, Path string } }
			}
		}
		if err := yaml.Unmarshal(text, &spec); err != nil {
			t.Fatal(err)
		}
		var files []string
		for _, c := range spec.Containers {
			for _, m := range c.VolumeMounts {
				for _, v := range spec.Volumes {
					for _, i := range v.Secret.Items {
						if v.Name == m.Name {
							files = append(files, m.MountPath+"/"+i.Path)
						}
					}
				}
			}
			settings := map[string]any{}
			for _, from := range c.EnvFrom {
				for _, m := range objects {
					if m.kind() == "ConfigMap" && m.name() == from.ConfigMapRef.Name {
						maps.Copy(settings, m.at("data"))
					}
				}
			}
			for _, e := range c.Env {
				settings[e.Name] = e.Value
			}
			for name, value := range settings {
				if file := fmt.Sprint(value); fileSetting.MatchString(name) && file != "" {
					if told++; !slices.Contains(files, file) {
						t.Errorf("%s %s: %s is %s, and mounted are %v", o.kind(), o.name(), name, file, files)
					}
				}
			}
		}
	}
	if told < 8 {
		t.Errorf("processes are told of %d files", told)
	}
}

var fileSetting = regexp.MustCompile(`^[A-Z_]+_FILE$`)
