package controlapi

import _ "embed"

//go:embed openapi.json
var openapi []byte

// OpenAPI is the document of the control plane (OpenAPI 3.1).
func OpenAPI() []byte { return openapi }

func (p *Plane) document(*call) (*answer, error) { return &answer{raw: openapi}, nil }
