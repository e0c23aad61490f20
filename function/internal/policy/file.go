package policy

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"go.yaml.in/yaml/v3"
)

// Parse reads a file of rules, in YAML or JSON:
//
//	otherwise: allow            # or deny: what holds where no rule does
//	rules:
//	- name: nights
//	  when: tool.destructive && now.getHours("Europe/Berlin") < 6
//	  then: deny                # allow, deny, confirm, scopes
//	  message: Nothing is deleted at night.
//
// The error lists every fault with the line of its rule.
func Parse(text []byte) (*Set, error) {
	var file struct {
		Otherwise Effect      `yaml:"otherwise"`
		Rules     []yaml.Node `yaml:"rules"`
	}
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(&file); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("not a file of rules: %w", err)
	}
	var rules []Rule
	var faults []error
	for _, node := range file.Rules {
		var r Rule
		// Decoding a node alone does not know strict fields: the names are checked here.
		for i := 0; node.Kind == yaml.MappingNode && i < len(node.Content); i += 2 {
			switch key := node.Content[i]; key.Value {
			case "name", "when", "then", "scopes", "message", "shadow":
			default:
				faults = append(faults, fmt.Errorf("line %d: a rule has no field %q: it has name, when, then, scopes, message and shadow", key.Line, key.Value))
			}
		}
		if err := node.Decode(&r); err != nil {
			faults = append(faults, fmt.Errorf("line %d: %w", node.Line, err))
			continue
		}
		r.place = fmt.Sprintf("line %d", node.Line)
		rules = append(rules, r)
	}
	set, err := Compile(rules, file.Otherwise)
	if err := errors.Join(append(faults, err)...); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(text)
	set.version = hex.EncodeToString(sum[:8])
	return set, nil
}
