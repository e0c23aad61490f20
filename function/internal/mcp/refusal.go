package mcp

import "example.com/erlmcp/function/internal/strictjson"

// asked is what a refusal answers, as far as it was read.
type asked struct {
	modern bool
	id     []byte
	method string // "" where that was not read
	// stranger: it is not known who asks. Clients learn by the status that they are to sign in.
	stranger bool
}

// refuse answers a refusal, with HTTP 200, since the transports of clients drop the body otherwise. What can't be tied to a request has
// the status of its reason, and so has a challenge, which clients know by it.
func (s *Server) refuse(x Exchange, to asked, r *Refusal) {
	status := 200
	if to.id == nil || r.Challenge != "" || to.stranger || to.modern && s.opts.RefusalErrors {
		status = r.Reason.Status
	}
	x.Refuse(r, status, s.appendRefusal(nil, to, r))
}

// appendRefusal appends a whole response: a result for the model, where a tool was called, and else an error. Of an error most agents
// tell their model only that there was one, and some end.
func (s *Server) appendRefusal(b []byte, to asked, r *Refusal) []byte {
	if to.method != methodToolsCall || to.id == nil || to.stranger || r.Challenge != "" || s.opts.RefusalErrors {
		return AppendError(b, to.id, r.Err())
	}
	b = append(appendEnvelope(b, to.id), `"result":{`...)
	if to.modern {
		b = append(b, `"resultType":"complete",`...)
	}
	b = append(b, `"content":[{"type":"text","text":`...)
	b = strictjson.AppendString(b, r.text())
	b = append(b, `}],"isError":true,"_meta":{`...)
	if to.modern {
		b = append(append(b, s.serverInfo...), ',')
	}
	b = append(b, metaRefusal+`{"code":`...)
	b = append(appendInt(b, int64(r.Reason.Code)), ',')
	return append(r.appendData(b), "}}}"...)
}
