package redact

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/agentrisk/agentrisk/scoring"
)

// Action is what becomes of a value.
type Action uint8

const (
	Keep        Action = iota // as it was sent
	Mask                      // secrets and personal data in it masked
	Fingerprint               // a keyed hash stands for it
	Drop                      // nothing stands for it
	Excerpt                   // Fingerprint, and its beginning, masked
)

var actionNames = []string{"keep", "mask", "fingerprint", "drop", "excerpt"}

func (a Action) String() string { return actionNames[a] }

// Policy says what is kept of the events of a binding. The zero Policy is the default: content and arguments leave a
// length and a fingerprint, texts are masked, and what identifies stays as the provider sent it.
type Policy struct {
	// Content is what agents say and read: drop, fingerprint (default) or excerpt.
	Content string `yaml:"content"`
	// Arguments of tools, and command lines: drop, fingerprint (default) or excerpt.
	Arguments string `yaml:"arguments"`
	// Attributes are the fields that the table does not know: drop, fingerprint or mask (default). With fingerprint, names
	// stay.
	Attributes string `yaml:"attributes"`
	// DeadLetters says what is kept of a record that is no event: excerpt (default), its masked beginning, or drop.
	DeadLetters string `yaml:"dead_letters"`
	// Columns are those of texts, by their name in the verdicts table: keep, mask, fingerprint or drop. The default is keep for
	// identifiers and mask for everything else.
	Columns map[string]string `yaml:"columns"`
	// Excerpt is how many bytes an excerpt has at most, 1 to 1024; 256 when it is 0.
	Excerpt int `yaml:"excerpt"`
}

// Bounds of excerpts, in bytes.
const (
	defaultExcerpt = 256
	maxExcerpt     = 1024
)

// plan is a policy that has been checked.
type plan struct {
	content, arguments, attributes, letters Action
	excerpt                                 int
	columns                                 map[scoring.FieldID]Action // only what differs from the default
}

// Check fills defaults and says what is wrong with the policy.
func (p *Policy) Check() error {
	c, err := p.plan()
	if err != nil {
		return err
	}
	p.Content, p.Arguments, p.Attributes, p.DeadLetters = c.content.String(), c.arguments.String(), c.attributes.String(), c.letters.String()
	p.Excerpt = c.excerpt
	return nil
}

func (p *Policy) plan() (c plan, err error) {
	of := func(name, value string, allowed ...Action) (Action, error) {
		if value == "" {
			return allowed[0], nil
		}
		i := slices.Index(actionNames, value)
		if i < 0 || !slices.Contains(allowed, Action(i)) {
			return 0, fmt.Errorf("redaction.%s %q: want one of %s", name, value, list(allowed))
		}
		return Action(i), nil
	}
	for _, x := range []struct {
		name, value string
		to          *Action
		allowed     []Action
	}{
		{"content", p.Content, &c.content, []Action{Fingerprint, Excerpt, Drop}},
		{"arguments", p.Arguments, &c.arguments, []Action{Fingerprint, Excerpt, Drop}},
		{"attributes", p.Attributes, &c.attributes, []Action{Mask, Fingerprint, Drop}},
		{"dead_letters", p.DeadLetters, &c.letters, []Action{Excerpt, Drop}},
	} {
		if *x.to, err = of(x.name, x.value, x.allowed...); err != nil {
			return c, err
		}
	}
	if c.excerpt = p.Excerpt; c.excerpt == 0 {
		c.excerpt = defaultExcerpt
	}
	if c.excerpt < 1 || c.excerpt > maxExcerpt {
		return c, fmt.Errorf("redaction.excerpt %d: want 1 to %d bytes", p.Excerpt, maxExcerpt)
	}
	c.columns = map[scoring.FieldID]Action{}
	for name, value := range p.Columns {
		id, ok := columnOf(name)
		if !ok {
			return c, fmt.Errorf("redaction.columns: %q is no column of texts that a provider fills; `agentrisk schema fields` lists them", name)
		}
		if id == scoring.FieldProvider {
			return c, fmt.Errorf("redaction.columns: %s is the binding's and stays", name)
		}
		a, err := of("columns."+name, value, Mask, Keep, Fingerprint, Drop)
		if err != nil {
			return c, err
		}
		if value != "" && a != defaultAction(id) {
			c.columns[id] = a
		}
	}
	return c, nil
}

func list(of []Action) string {
	names := make([]string, len(of))
	for i, a := range of {
		names[i] = a.String()
	}
	return strings.Join(names, ", ")
}

func columnOf(name string) (scoring.FieldID, bool) {
	for id, f := range scoring.Fields {
		if f.Column == name && name != "" && (f.Type == scoring.String || f.Type == scoring.Strings) {
			return scoring.FieldID(id), true
		}
	}
	return 0, false
}

func defaultAction(id scoring.FieldID) Action {
	if Identifiers[id] != "" {
		return Keep
	}
	return Mask
}

// String is the policy in one line, as rows carry it: the version of the masks, and what is done.
func (c *plan) String() string {
	s := "v" + Version + " content=" + c.content.String() + " arguments=" + c.arguments.String()
	if c.content == Excerpt || c.arguments == Excerpt {
		s += " excerpt=" + strconv.Itoa(c.excerpt)
	}
	s += " attributes=" + c.attributes.String() + " dead_letters=" + c.letters.String()
	var columns []string
	for id, a := range c.columns {
		columns = append(columns, " "+scoring.Fields[id].Column+"="+a.String())
	}
	slices.Sort(columns)
	return s + strings.Join(columns, "")
}
