package mcp

// unwrap makes the call one of the tool that its arguments name, with the arguments that they hold for it: from here on nothing tells it
// from a call by that tool's own name.
func (c *Call) unwrap(p *params) *Error {
	by := c.Name
	c.Name, c.indirect = "", true
	var name optional
	var wrong string
	seen := map[string]bool{}
	err := error(nil)
	if sc := (&scanner{buf: p.arguments}); p.arguments != nil {
		err = sc.object(func(member []byte) (err error) {
			key := string(member)
			switch key {
			case "name":
				name, err = sc.optional("", member, &wrong)
			case "arguments":
				c.Raw, err = sc.member("", member, &wrong)
			default:
				wrong = "there is no argument " + quote(key) + ": those of the tool that is called go into arguments"
				err = sc.skip(2)
			}
			if seen[key] {
				wrong = "duplicate argument " + quote(key)
			}
			seen[key] = true
			return err
		})
	}
	catalog := c.server.opts.Catalog
	switch {
	case err != nil:
		wrong = err.Error()
	case wrong != "":
	case !name.set:
		wrong = "name is missing: give that of the tool to be called"
	case catalog.Indirect(name.value) == ByCursor:
		wrong = name.value + " is called by its own name"
	case catalog.Indirect(name.value) != Direct:
		wrong = "name must be that of another tool"
	}
	if name.set && catalog.Indirect(name.value) == Direct {
		c.Name = catalog.Named(name.value)
	}
	if wrong != "" {
		return c.misused(by, wrong)
	}
	return nil
}

// lost says why what is called by another tool is not to be called, or "".
func (c *Call) lost(t *Tool) string {
	switch {
	case c.From != nil && (t == nil || !t.ReadsOn): // another catalog took the place of the one that gave the cursor, or other rules hold
		return "the answers of " + quote(c.Name) + " can't be read on any more: look which tools there are"
	case c.indirect && t == nil:
		return "there is no tool " + quote(c.Name) + ": call one that was found"
	}
	return ""
}

// misused returns what is wrong with the arguments of a tool by which others are called.
func (c *Call) misused(by, wrong string) *Error {
	c.misuse = invalidParams("The arguments do not fit the input schema of %s: %s", by, wrong)
	return c.misuse
}
