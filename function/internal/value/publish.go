package value

import (
	"bytes"
	"encoding/json"
	"slices"
)

// Published is a schema as clients take it: of an object there are always properties, without which some models' interfaces refuse a whole
// request, and true and false, for which some clients refuse a whole list, stand nowhere but in additionalProperties, where all know them.
// The order of members stays. What is no JSON is returned as it is.
func Published(schema json.RawMessage) json.RawMessage {
	out, err := published(schema)
	if err != nil {
		return schema
	}
	return out
}

// Where schemas stand in schemas.
var (
	ofOne  = map[string]bool{"items": true, "additionalItems": true, "contains": true, "propertyNames": true, "not": true, "if": true, "then": true, "else": true, "additionalProperties": true, "unevaluatedItems": true, "unevaluatedProperties": true, "contentSchema": true}
	ofList = map[string]bool{"allOf": true, "anyOf": true, "oneOf": true, "prefixItems": true, "items": true}
	ofMap  = map[string]bool{"properties": true, "patternProperties": true, "$defs": true, "definitions": true, "dependentSchemas": true, "dependencies": true}
)

func published(schema json.RawMessage) (json.RawMessage, error) {
	switch text := bytes.TrimSpace(schema); {
	case string(text) == "true":
		return json.RawMessage("{}"), nil
	case string(text) == "false":
		return json.RawMessage(`{"not":{}}`), nil
	case len(text) == 0 || text[0] != '{':
		return schema, nil
	}
	object := false
	seen := false
	out, err := rewritten(schema, func(name string, v json.RawMessage) (json.RawMessage, error) {
		first := bytes.TrimSpace(v)[0]
		switch {
		case name == "type":
			var types []string
			if json.Unmarshal(v, &types) == nil {
				object = slices.Contains(types, "object")
				if len(types) == 1 {
					return json.RawMessage(plainJSON(types[0])), nil
				}
			} else {
				object = string(bytes.TrimSpace(v)) == `"object"`
			}
		case name == "additionalProperties" && first != '{':
			return v, nil
		}
		seen = seen || name == "properties"
		switch {
		case ofMap[name] && first == '{':
			return rewritten(v, func(_ string, v json.RawMessage) (json.RawMessage, error) { return published(v) })
		case ofList[name] && first == '[':
			return rewrittenList(v)
		case ofOne[name] && first != '[':
			return published(v)
		}
		return v, nil
	})
	if err == nil && object && !seen {
		comma := ","
		if string(out) == "{}" {
			comma = ""
		}
		out = append(out[:len(out)-1], comma+`"properties":{}}`...)
	}
	return out, err
}

// rewritten is an object with other values.
func rewritten(text json.RawMessage, each func(name string, v json.RawMessage) (json.RawMessage, error)) (json.RawMessage, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	out := json.RawMessage{'{'}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, err
		}
		var v json.RawMessage
		if err := d.Decode(&v); err != nil {
			return nil, err
		}
		if v, err = each(name.(string), v); err != nil {
			return nil, err
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(append(append(out, plainJSON(name)...), ':'), v...)
	}
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	return append(out, '}'), nil
}

func rewrittenList(text json.RawMessage) (json.RawMessage, error) {
	var all []json.RawMessage
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, err
	}
	for i := range all {
		var err error
		if all[i], err = published(all[i]); err != nil {
			return nil, err
		}
	}
	return json.Marshal(all)
}
