package config

import (
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
)

// operators are those of a match expression.
var operators = map[string]selection.Operator{
	"In":           selection.In,
	"NotIn":        selection.NotIn,
	"Exists":       selection.Exists,
	"DoesNotExist": selection.DoesNotExist,
}

// nodeSelectors reads a list of selectors, of which any may match.
func (p *parser) nodeSelectors(v value) []labels.Selector {
	var selectors []labels.Selector
	for _, item := range p.list(v) {
		selectors = append(selectors, p.nodeSelector(p.object(item, &selectorKeys)))
	}
	return selectors
}

// nodeSelector reads one selector, all conditions of which must hold.
func (p *parser) nodeSelector(o object) labels.Selector {
	s := labels.Everything()
	for _, pair := range p.pairs(o.get("match-labels")) {
		s = p.require(s, condition{at: pair.at, key: pair.name, op: selection.Equals, values: []value{pair.value}})
	}
	for _, item := range p.list(o.get("match-expressions")) {
		e := p.object(item, &expressionKeys)
		c := condition{at: e.get("key").place, key: p.text(e.get("key")), values: p.list(e.get("values"))}
		if c.key == "" {
			e.missing("key")
			continue
		}
		op := p.text(e.get("operator"))
		c.op = operators[op]
		switch {
		case op == "":
			e.missing("operator")
		case c.op == "":
			bad := p.errorf(e.get("operator").place, "%q is not an operator", show(op)).hint("In, NotIn, Exists or DoesNotExist")
			if near, ok := nearest(op, []string{"In", "NotIn", "Exists", "DoesNotExist"}); ok {
				bad.hint("did you mean %s?", near)
			}
		case (c.op == selection.In || c.op == selection.NotIn) && len(c.values) == 0:
			p.errorf(e.get("values").place, "%s needs at least one value", op).hint("values: [value]")
		case (c.op == selection.Exists || c.op == selection.DoesNotExist) && len(c.values) > 0:
			p.errorf(e.get("values").place, "%s takes no values", op).hint("remove values, or use In or NotIn")
		default:
			s = p.require(s, c)
		}
	}
	return s
}

// condition is one on a node's label, as written.
type condition struct {
	at     place // of the key
	key    string
	op     selection.Operator
	values []value
}

// require adds a condition to a selector.
func (p *parser) require(s labels.Selector, c condition) labels.Selector {
	if _, err := labels.NewRequirement(c.key, selection.Exists, nil); err != nil {
		p.errorf(c.at, "%q is not a label key", show(c.key)).
			hint("a key is [prefix/]name; name: at most 63 letters, digits, -, _ and ., a letter or digit at both ends")
		return s
	}
	values := make([]string, len(c.values))
	for i, v := range c.values {
		before := len(p.errs)
		values[i] = p.text(v)
		if !p.clean(before) {
			return s
		}
		if _, err := labels.NewRequirement(c.key, selection.Equals, values[i:i+1]); err != nil {
			p.errorf(v.place, "%q is not a label value", show(values[i])).
				hint("a value is at most 63 letters, digits, -, _ and ., a letter or digit at both ends; or empty")
			return s
		}
	}
	r, err := labels.NewRequirement(c.key, c.op, values)
	if err != nil {
		p.errorf(c.at, "not a valid condition: %v", err)
		return s
	}
	return s.Add(*r)
}
