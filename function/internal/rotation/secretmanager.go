package rotation

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"strconv"
	"time"
)

// SecretManager is the address of its API.
const SecretManager = "https://secretmanager.googleapis.com"

// A Secret is one in Secret Manager. It implements [Place]: https://cloud.google.com/secret-manager/docs/reference/rest.
type Secret struct {
	API    string
	Name   string // projects/P/secrets/S
	Client *http.Client
	Token  func(context.Context) (string, error) // with cloud-platform; nil for none
}

var secretName = regexp.MustCompile(`^projects/[a-z0-9.:-]+/(locations/[a-z0-9-]+/)?secrets/[A-Za-z0-9_-]+$`)

// IsSecret tells whether a name is that of a secret, such as projects/my-project/secrets/erlmcp-keys.
func IsSecret(name string) bool { return secretName.MatchString(name) }

// Versions implements [Place]. The newest is what instances read as latest.
func (s *Secret) Versions(ctx context.Context) iter.Seq2[Version, error] {
	return func(yield func(Version, error) bool) {
		var list struct {
			Versions []struct {
				Name, State string
				CreateTime  time.Time
			}
		}
		if err := s.ask(ctx, http.MethodGet, "/versions?pageSize="+strconv.Itoa(maxVersions+1), nil, &list); err != nil {
			yield(Version{}, err)
			return
		}
		for _, v := range list.Versions {
			number := path.Base(v.Name)
			one := s.named(number)
			if v.State != "ENABLED" {
				yield(one, fmt.Errorf("%s is %s, and shows which step is next: gcloud secrets versions enable %s --secret %s", one.Name, v.State, number, path.Base(s.Name)))
				return
			}
			var err error
			one.At = v.CreateTime
			one.Keys, err = s.access(ctx, number)
			if !yield(one, err) || err != nil {
				return
			}
		}
	}
}

func (s *Secret) named(number string) Version {
	n, _ := strconv.Atoi(number) // by who names versions: a number
	return Version{Name: "version " + number + " of " + s.Name, number: n}
}

// A payload is what a version says.
type payload struct {
	Data []byte `json:"data"`
	CRC  string `json:"dataCrc32c,omitempty"` // in decimal, as the API has numbers of 64 bits
}

func sum(data []byte) string {
	return strconv.FormatUint(uint64(crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli))), 10)
}

func (s *Secret) access(ctx context.Context, number string) (string, error) {
	var answer struct{ Payload payload }
	if err := s.ask(ctx, http.MethodGet, "/versions/"+url.PathEscape(number)+":access", nil, &answer); err != nil {
		return "", err
	}
	p := answer.Payload
	if p.CRC != "" && p.CRC != sum(p.Data) {
		return "", fmt.Errorf("version %s of %s was damaged on its way: try again", number, s.Name)
	}
	return string(bytes.TrimSpace(p.Data)), nil
}

// Append implements [Place].
func (s *Secret) Append(ctx context.Context, keys string, behind Version) (Version, error) {
	for newest, err := range s.Versions(ctx) {
		if err != nil {
			return Version{}, err
		}
		if newest.Name != behind.Name {
			return Version{}, fmt.Errorf("another has added %s meanwhile: look anew", newest.Name)
		}
		break
	}
	var made struct {
		Name       string
		CreateTime time.Time
	}
	body := struct {
		Payload payload `json:"payload"`
	}{payload{[]byte(keys), sum([]byte(keys))}}
	if err := s.ask(ctx, http.MethodPost, ":addVersion", body, &made); err != nil {
		return Version{}, err
	}
	v := s.named(path.Base(made.Name))
	v.At, v.Keys = made.CreateTime, keys
	if v.number != behind.number+1 {
		return Version{}, fmt.Errorf("between %s and %s another was added: two rotate at once; look anew", behind.Name, v.Name)
	}
	return v, nil
}

// maxAnswer bounds what is read of an answer: a payload has at most 64 KiB.
const maxAnswer = 1 << 20

func (s *Secret) ask(ctx context.Context, method, rest string, body, into any) error {
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		content = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, s.API+"/v1/"+s.Name+rest, content)
	if err != nil {
		return err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if s.Token != nil {
		token, err := s.Token(ctx)
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := s.Client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		var fault struct{ Error struct{ Message string } }
		json.Unmarshal(text, &fault) // else the status says it
		return fmt.Errorf("of %s Secret Manager answers %d: %.300s; who asks needs roles/secretmanager.secretVersionManager and roles/secretmanager.secretAccessor", s.Name, resp.StatusCode, fault.Error.Message)
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("what Secret Manager answers of %s can't be read", s.Name) // the cause may show a key
	}
	return nil
}
