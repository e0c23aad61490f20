package judge

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
)

// CanaryTag is the tag under which Cloud Deploy keeps the revision that it gives more and more traffic: canary_revision_tags of its pipeline.
const CanaryTag = "canary"

// A Service is one of Cloud Run.
type Service struct {
	API     string // its address, such as https://us-central1-run.googleapis.com
	Project string
	Name    string
	Client  *http.Client
	Token   func(context.Context) (string, error) // of who asks, with run.services.get; nil for none
}

var service = regexp.MustCompile(`^projects/([a-z0-9-]+)/locations/([a-z0-9-]+)/services/([a-z0-9-]+)$`)

// ParseService reads a name such as projects/my-project/locations/us-central1/services/erlmcp.
func ParseService(name string) (*Service, error) {
	m := service.FindStringSubmatch(name)
	if m == nil {
		return nil, fmt.Errorf("%q names no service of Cloud Run, such as projects/my-project/locations/us-central1/services/erlmcp", name)
	}
	return &Service{API: "https://" + m[2] + "-run.googleapis.com", Project: m[1], Name: m[3], Client: http.DefaultClient}, nil
}

// Revision asks for the revision under a tag: https://cloud.google.com/run/docs/reference/rest/v1/namespaces.services/get.
func (s *Service) Revision(ctx context.Context, tag string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.API+"/apis/serving.knative.dev/v1/namespaces/"+s.Project+"/services/"+s.Name, nil)
	if err != nil {
		return "", err
	}
	if s.Token != nil {
		token, err := s.Token(ctx)
		if err != nil {
			return "", err
		}
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := s.Client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return "", err
	}
	var answer struct {
		Status struct {
			Traffic []struct {
				RevisionName, Tag string
			}
		}
	}
	if err := json.Unmarshal(body, &answer); err != nil || resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("of the service %s Cloud Run answers %d: %.300s; who asks needs run.services.get", s.Name, resp.StatusCode, body)
	}
	for _, t := range answer.Status.Traffic {
		if t.Tag == tag && t.RevisionName != "" {
			return t.RevisionName, nil
		}
	}
	return "", fmt.Errorf("no revision of the service %s has the tag %s, under which a rollout keeps its canary", s.Name, tag)
}
