package config

import (
	"maps"
	"slices"

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
		if c, ok := p.expression(p.object(item, &expressionKeys)); ok {
			s = p.require(s, c)
		}
	}
	return s
}

// expression reads one match expression; ok is false after a mistake.
func (p *parser) expression(o object) (c condition, ok bool) {
	key, op := o.get("key"), o.get("operator")
	keyText, keyOK := o.word("key")
	opText, opOK := o.word("operator")
	c = condition{at: key.place, key: keyText, op: operators[opText], values: p.list(o.get("values"))}
	switch {
	case !keyOK || !opOK:
		return c, false
	case c.op == "":
		e := p.errorf(op.place, "%q is not an operator", show(opText)).hint("In, NotIn, Exists or DoesNotExist")
		if near, ok := nearest(opText, slices.Sorted(maps.Keys(operators))); ok {
			e.hint("did you mean %s?", near)
		}
		return c, false
	case (c.op == selection.In || c.op == selection.NotIn) && len(c.values) == 0:
		p.errorf(o.get("values").place, "%s needs at least one value", opText).hint("values: [value]")
		return c, false
	case (c.op == selection.Exists || c.op == selection.DoesNotExist) && len(c.values) > 0:
		p.errorf(o.get("values").place, "%s takes no values", opText).hint("remove values, or use In or NotIn")
		return c, false
	}
	return c, true
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
		var ok bool
		if values[i], ok = p.text(v); !ok {
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
