package ipam

import (
	"slices"
	"sort"
)

// group is the shared addresses of one stock whose claims all have the same
// keys: those that a newcomer with these keys may join if its ports are free.
// It finds the first such address without looking at those before.
type group struct {
	sharing sharing
	members []*record          // by position
	using   map[Port][]*record // those with the port in use, by position
}

// lowest returns the first address on which none of the ports is in use, or nil.
func (g *group) lowest(ports []Port) *record {
	if g == nil {
		return nil
	}
	rest := g.members
	for moved := true; moved; {
		moved = false
		for _, p := range ports {
			n := leading(rest, g.using[p])
			rest, moved = rest[n:], moved || n > 0
		}
	}
	if len(rest) == 0 {
		return nil
	}
	return rest[0]
}

// leading returns how many records at the start of members are all in users.
// users holds no record that is missing in members, but may start earlier. So
// the two agree up to the first member that is no user, and nowhere after.
func leading(members, users []*record) int {
	if len(members) == 0 {
		return 0
	}
	start, _ := slices.BinarySearchFunc(users, members[0], byPosition)
	users = users[start:]
	return sort.Search(min(len(members), len(users)), func(i int) bool { return members[i] != users[i] })
}

// use takes note that rec has p in use. A nil group ignores it.
func (g *group) use(p Port, rec *record) {
	if g != nil {
		g.using[p] = insert(g.using[p], rec)
	}
}

// unuse undoes use.
func (g *group) unuse(p Port, rec *record) {
	if g == nil {
		return
	}
	if g.using[p] = remove(g.using[p], rec); len(g.using[p]) == 0 {
		delete(g.using, p)
	}
}

// join puts rec into the group with these keys.
func (s *stock) join(rec *record, keys sharing) {
	g := s.groups[keys]
	if g == nil {
		g = &group{sharing: keys, using: map[Port][]*record{}}
		if s.groups == nil {
			s.groups = map[sharing]*group{}
		}
		s.groups[keys] = g
	}
	rec.group = g
	g.members = insert(g.members, rec)
	for p := range rec.ports {
		g.use(p, rec)
	}
}

// part takes rec out of its group.
func (s *stock) part(rec *record) {
	g := rec.group
	rec.group = nil
	g.members = remove(g.members, rec)
	for p := range rec.ports {
		g.unuse(p, rec)
	}
	if len(g.members) == 0 {
		delete(s.groups, g.sharing)
	}
}

// insert adds rec to records, which are by position.
func insert(records []*record, rec *record) []*record {
	i, _ := slices.BinarySearchFunc(records, rec, byPosition)
	return slices.Insert(records, i, rec)
}

// remove takes rec out of records, which are by position.
func remove(records []*record, rec *record) []*record {
	i, _ := slices.BinarySearchFunc(records, rec, byPosition)
	return slices.Delete(records, i, i+1)
}
