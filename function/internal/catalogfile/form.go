// Package catalogfile reads the operator's catalog file, which declares tools, resources and prompts without code: of an OpenAPI document, of
// single HTTP requests, of a Firestore collection, or of a directory of texts. A file that is at fault is refused whole, with the line of each fault
// and what to do about it.
package catalogfile

import "time"

// A File is the form of a catalog file, in YAML or JSON. Of each member the tag doc says what it is for: the published JSON Schema has it too.
type File struct {
	Catalog  int       `yaml:"catalog" need:"true" doc:"version of this form: 1"`
	Defaults *Defaults `yaml:"defaults" doc:"what holds for each tool that says nothing else"`
	Search   *Search   `yaml:"search" doc:"find_tools and call_tool in place of a long list"`
	Sources  []Source  `yaml:"sources" doc:"where tools, resources and prompts come from"`
}

// Defaults hold for each tool that says nothing else.
type Defaults struct {
	Timeout time.Duration `yaml:"timeout" doc:"time for a call, retries included, such as 20s, which is the default"`
	Result  *Result       `yaml:"result" doc:"what of an answer reaches the model"`
	Limits  *Limits       `yaml:"limits" doc:"limits of each tool, over the whole fleet"`
}

// Search says when a caller gets two tools to find and call others with, in place of the list of them all.
type Search struct {
	Above int `yaml:"above" doc:"tools of a caller's list above which it has find_tools and call_tool in their place; 0 is always"`
}

// A Source is an API, a collection or a directory. It is exactly one of openapi, rest, firestore and texts.
type Source struct {
	Line int // in the file

	Name      string     `yaml:"name" need:"true" doc:"begins the names of its tools; upstream:NAME is what kill switches and limits call it"`
	OpenAPI   string     `yaml:"openapi" doc:"an OpenAPI document of version 2.0, 3.0 or 3.1: a file, from the catalog's folder on, or an https URL"`
	SHA256    string     `yaml:"sha256" doc:"of the document at an URL, in hexadecimal: another content is refused"`
	REST      string     `yaml:"rest" doc:"URL of an HTTP API whose tools are written here"`
	Firestore *Firestore `yaml:"firestore" doc:"a collection of Firestore"`
	Texts     *Texts     `yaml:"texts" doc:"a directory of texts"`

	Server    string            `yaml:"server" doc:"URL of the API, in place of those that the OpenAPI document names"`
	Variables map[string]string `yaml:"variables" doc:"values of the variables in the document's server URL"`
	Auth      *Auth             `yaml:"auth" doc:"how the server authenticates to the API"`
	Headers   map[string]Value  `yaml:"headers" doc:"headers of each request; arguments can't set them"`
	Forward   map[string]string `yaml:"forward" doc:"headers of the caller that are sent on, each with the name that the API has for it; no other is, and credentials for this server never are"`
	Retries   *Retries          `yaml:"retries" doc:"of requests that may be sent twice: those of idempotent methods, or with an Idempotency-Key"`
	Read      Size              `yaml:"read" doc:"bytes that are read of an answer, such as 8MiB, which is the default; each part of one that is read on reads it all"`
	Breaker   *Breaker          `yaml:"breaker" doc:"stops calls to an API that fails, on all instances; 5 failures and 10s are the default"`

	Governance `yaml:",inline"`
	Tools      []Tool `yaml:"tools" doc:"what is offered; of an OpenAPI document nothing else is, and of several lines that match an operation the first holds"`
}

// Governance is what a tool is held to. A source says it for all of its tools, and a tool for itself.
type Governance struct {
	Timeout        time.Duration `yaml:"timeout" doc:"time for a call, retries included"`
	Limits         *Limits       `yaml:"limits" doc:"limits of each tool, over the whole fleet"`
	Result         *Result       `yaml:"result" doc:"what of an answer reaches the model"`
	Toolset        string        `yaml:"toolset" doc:"group of tools that plans and paths name; tenants whose plan leaves it out don't have the tool"`
	Scopes         []string      `yaml:"scopes" doc:"scopes that a caller must have been granted"`
	Allow          []Condition   `yaml:"allow" doc:"conditions that must hold, or the tool is hidden and refused"`
	Confirm        []Condition   `yaml:"confirm" doc:"conditions on which a person at the client must agree first"`
	RequireReceipt *bool         `yaml:"requireReceipt" doc:"the tool is called only when the receipt of the intent is stored"`
}

// A Tool is a line that offers operations of a document, or one request that is written here.
type Tool struct {
	Line int // in the file

	Match       []string `yaml:"match" doc:"operations of the document: an operationId, METHOD /path, or tag:NAME, each with * for any text"`
	Offer       *bool    `yaml:"offer" doc:"false leaves out what the line matches"`
	Name        string   `yaml:"name" doc:"name behind the source's, of one operation or request"`
	Title       string   `yaml:"title" doc:"for people"`
	Description string   `yaml:"description" doc:"what the tool does, by which models choose it"`
	Request     string   `yaml:"request" doc:"METHOD /path/{argument} of a rest source"`

	Arguments map[string]*Argument `yaml:"arguments" doc:"of a rest source all arguments; of an operation what is changed of its own"`

	ReadOnly    *bool `yaml:"readOnly" doc:"it changes nothing; GET and HEAD are so by default"`
	Destructive *bool `yaml:"destructive" doc:"it may overwrite or delete"`
	Idempotent  *bool `yaml:"idempotent" doc:"calling it twice is as once; it may be retried then"`
	Listed      *bool `yaml:"listed" doc:"it stays in the list where find_tools replaces the others"`

	Governance `yaml:",inline"`
}

// An Argument is the JSON Schema of an argument, with where it goes beside it. A text alone, such as string, is its type.
type Argument struct {
	Line int // in the file

	Optional *bool  `yaml:"optional" doc:"it may be left out"`
	Fixed    *Value `yaml:"fixed" doc:"its value, which the model neither sees nor sets; a text that begins with = is CEL"`
	In       string `yaml:"in" enum:"path,query,header,body" doc:"place in the request: by default the path where it has {argument}, else the query, or the body of POST, PUT and PATCH"`
	Wire     string `yaml:"wire" doc:"its name in the request, where that is another"`
	Slashes  bool   `yaml:"slashes" doc:"a value in the path may have slashes"`

	Schema map[string]any `yaml:",others"` // of JSON Schema
}

// Limits hold over the whole fleet.
type Limits struct {
	PerSecond  float64 `yaml:"perSecond" doc:"calls a second"`
	Burst      int     `yaml:"burst" doc:"calls that may come at once; by default a tenth of a second's, and at least 1"`
	Concurrent int     `yaml:"concurrent" doc:"calls that run at a time"`
	PerDay     int64   `yaml:"perDay" doc:"calls of one UTC day"`
	Weight     int     `yaml:"weight" doc:"what a call counts against rates; 1 by default"`
	DryRun     bool    `yaml:"dryRun" doc:"the limits count and refuse no one"`
}

// A Result says what of an answer reaches the model.
type Result struct {
	Max    Size     `yaml:"max" doc:"bytes, such as 64KiB, which is the default: arrays are cut at items first, and the answer says so; read_more reads on in one of a tool that changes nothing"`
	Fields []string `yaml:"fields" doc:"members of a JSON answer that are kept, such as items.id"`
	Value  Value    `yaml:"value" doc:"CEL over body and args in place of the answer, such as =body.items.map(i, i.id)"`
	Pages  *Pages   `yaml:"pages" doc:"follows the pages of a list"`
	Output bool     `yaml:"output" doc:"publishes the document's schema of the answer; the answer must fit it then"`
}

// Pages follow a list over several requests.
type Pages struct {
	Cursor string `yaml:"cursor" need:"true" doc:"member of the answer that has the next page's cursor, such as next or meta.next"`
	Into   string `yaml:"into" need:"true" doc:"parameter of the request that it goes into"`
	Max    int    `yaml:"max" need:"true" doc:"pages at most"`
}

// Auth is exactly one of bearer, basic, key, oauth2 and google.
type Auth struct {
	Line int // in the file

	Bearer Reference `yaml:"bearer" doc:"a token"`
	Basic  *Basic    `yaml:"basic" doc:"a user and a password"`
	Key    *Key      `yaml:"key" doc:"a key in a header or in the query"`
	OAuth2 *OAuth2   `yaml:"oauth2" doc:"client credentials of OAuth 2.0 (RFC 6749, section 4.4)"`
	Google *Google   `yaml:"google" doc:"a token of the service's own account, as for another Cloud Run service"`
}

// Basic is HTTP's basic authentication (RFC 7617).
type Basic struct {
	User     Reference `yaml:"user" need:"true" doc:"the user"`
	Password Reference `yaml:"password" need:"true" doc:"the password"`
}

// A Key is sent in a header or in the query.
type Key struct {
	Header string    `yaml:"header" doc:"header that has it, such as X-Api-Key"`
	Query  string    `yaml:"query" doc:"parameter of the query that has it"`
	From   Reference `yaml:"from" need:"true" doc:"the key"`
}

// OAuth2 are client credentials.
type OAuth2 struct {
	Token  string    `yaml:"token" need:"true" doc:"URL of the token endpoint"`
	Client Reference `yaml:"client" need:"true" doc:"the client's id"`
	Secret Reference `yaml:"secret" need:"true" doc:"the client's secret"`
	Scopes []string  `yaml:"scopes" doc:"scopes that are asked for"`
	InBody bool      `yaml:"inBody" doc:"the client's id and secret go into the body, and not into the Authorization header"`
}

// Google is a token of the process's own account: exactly one of the two.
type Google struct {
	Audience string   `yaml:"audience" doc:"an ID token for this URL, as a private Cloud Run service wants"`
	Scopes   []string `yaml:"scopes" doc:"an access token with these scopes, as Google's APIs want"`
}

// Retries are of requests that may be sent twice.
type Retries struct {
	Max   *int     `yaml:"max" doc:"retries of one call; 2 by default, 0 is none"`
	After []string `yaml:"after" enum:"connect,429,502,503,504" doc:"what is retried; by default all of these"`
}

// A Breaker stops calls to an API that fails.
type Breaker struct {
	Failures int           `yaml:"failures" need:"true" doc:"failures in a row that open it; 0 is no breaker"`
	Rest     time.Duration `yaml:"rest" doc:"how long calls are refused, before single ones try again"`
}

// Firestore is a collection.
type Firestore struct {
	Collection string `yaml:"collection" need:"true" doc:"path of the collection, such as orders"`
	Database   string `yaml:"database" doc:"the database; (default) by default"`
	Own        string `yaml:"own" need:"true" doc:"condition on each document that a caller may read, such as tenant == principal.tenant, several joined with &&; all where every caller may read every document"`
	Find       *Find  `yaml:"find" doc:"a tool that finds documents"`
	Get        *Get   `yaml:"get" doc:"a tool that reads one document by its id"`
}

// Get is a tool that reads one document.
type Get struct {
	Name        string   `yaml:"name" doc:"name behind the source's; get by default"`
	Description string   `yaml:"description" doc:"what the tool does, by which models choose it"`
	Fields      []string `yaml:"fields" doc:"paths of the fields that are answered; by default all"`
}

// Find is a tool that finds documents.
type Find struct {
	Name        string   `yaml:"name" doc:"name behind the source's; find by default"`
	Description string   `yaml:"description" doc:"what the tool does, by which models choose it"`
	Fields      []string `yaml:"fields" doc:"paths of the fields that are answered; by default all"`
	Where       []Where  `yaml:"where" doc:"arguments that fields must equal"`
	Order       []string `yaml:"order" doc:"paths of fields to sort by, with desc behind one for the greatest first"`
	Max         int      `yaml:"max" doc:"documents of one answer; 20 by default"`
}

// Where is an argument that a field must equal. A text alone is the field.
type Where struct {
	Field       string `yaml:"field" need:"true" doc:"path of the field"`
	Argument    string `yaml:"argument" doc:"the argument; by default the field with _ for dots"`
	Type        string `yaml:"type" doc:"string by default; boolean, integer, number, timestamp and reference are others"`
	Description string `yaml:"description" doc:"for models"`
	Required    bool   `yaml:"required" doc:"the argument must be given"`
}

// Texts is a directory.
type Texts struct {
	Dir    string `yaml:"dir" need:"true" doc:"the directory, from the catalog's folder on"`
	As     string `yaml:"as" enum:"resources,prompts" need:"true" doc:"what its files are"`
	URI    string `yaml:"uri" doc:"URI of a file, with {path}, such as handbook://{path}; by default NAME://{path}"`
	Search bool   `yaml:"search" doc:"a tool that searches the texts"`
}

// A Condition is CEL over principal, tool, now and args, as in the file of rules. A text alone is its when.
type Condition struct {
	When    string `yaml:"when" need:"true" doc:"CEL, such as args.amount > 10000"`
	Message string `yaml:"message" doc:"for the person who is refused or asked"`
}

// A Reference names a secret: env:NAME is a variable of the environment, secret:NAME a file in CATALOG_SECRETS, which is read again when it changes.
type Reference string

// A Value is written as it is, or CEL where it is a text that begins with =.
type Value struct {
	Literal any
	CEL     string // without the =
	given   bool
}

// A Size is a number of bytes.
type Size int64
