package judge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Prometheus asks a server by Prometheus' HTTP API (https://prometheus.io/docs/prometheus/latest/querying/api/#instant-queries).
type Prometheus struct {
	URL    string // before /api/v1/query
	Client *http.Client
	Token  func(context.Context) (string, error) // is sent as Authorization: Bearer; nil for none
}

// A QueryError is that the server does not understand a query: the matchers are wrong.
type QueryError struct{ Query, Message string }

func (e *QueryError) Error() string {
	return fmt.Sprintf("Prometheus does not take the query %s: %s", e.Query, e.Message)
}

// maxAnswer bounds what is read of an answer, in bytes.
const maxAnswer = 64 << 20

// Query implements [Source].
func (p *Prometheus) Query(ctx context.Context, query string, at time.Time) ([]Sample, error) {
	form := url.Values{"query": {query}, "time": {strconv.FormatFloat(float64(at.UnixMilli())/1000, 'f', 3, 64)}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(p.URL, "/")+"/api/v1/query", strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if p.Token != nil {
		token, err := p.Token(ctx)
		if err != nil {
			return nil, fmt.Errorf("there is no access token: %w", err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := p.Client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxAnswer {
		return nil, fmt.Errorf("the answer to %s has more than %d MiB: let the matchers choose fewer processes", query, maxAnswer>>20)
	}
	return decode(query, resp.StatusCode, text)
}

// decode reads an answer.
func decode(query string, status int, text []byte) ([]Sample, error) {
	var answer struct {
		Status    string
		ErrorType string
		Error     string
		Data      struct {
			ResultType string
			Result     []struct {
				Metric map[string]string
				Value  [2]json.RawMessage
			}
		}
	}
	err := json.Unmarshal(text, &answer)
	switch {
	case err == nil && answer.Status == "error" && (answer.ErrorType == "bad_data" || status == http.StatusBadRequest):
		return nil, &QueryError{query, answer.Error}
	case err == nil && answer.Status == "error":
		return nil, fmt.Errorf("the server answers %d: %s: %s", status, answer.ErrorType, answer.Error)
	case status != http.StatusOK:
		return nil, fmt.Errorf("the server answers %d: %.300s", status, strings.TrimSpace(string(text)))
	case err != nil:
		return nil, fmt.Errorf("the answer is not one of Prometheus' API: %w: %.300s", err, text)
	case answer.Status != "success" || answer.Data.ResultType != "vector":
		return nil, errors.New("the answer is not one of Prometheus' API: it holds no vector")
	}
	out := make([]Sample, 0, len(answer.Data.Result))
	for _, r := range answer.Data.Result {
		var written string
		if err := json.Unmarshal(r.Value[1], &written); err != nil {
			return nil, fmt.Errorf("the answer holds a value %.30s: %w", r.Value[1], err)
		}
		v, err := strconv.ParseFloat(written, 64)
		if err != nil {
			return nil, fmt.Errorf("the answer holds a value %.30q: %w", written, err)
		}
		out = append(out, Sample{r.Metric, v})
	}
	return out, nil
}
