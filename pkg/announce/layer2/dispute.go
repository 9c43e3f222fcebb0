package layer2

import (
	"slices"
	"time"
)

// claimed is called for each frame by which somebody else uses the address.
func (o *ownership) claimed(now time.Time, w *world, c claim) effects {
	switch o.state {
	case probing, verifying, held, awaiting:
		return o.occupied(now, w, c)
	case owning:
		if c.node == "" {
			return o.conflict(now, c)
		}
		return o.dispute(now, w, c)
	case yielding:
		if c.node == "" {
			return o.report(now, c)
		}
		return o.yieldTo(c)
	}
	return effects{}
}

// occupied decides what an elected node that found somebody answering waits for.
// A node that is alive and comes after it in the election hands over. Of any
// other it waits for the silence.
func (o *ownership) occupied(now time.Time, w *world, c claim) effects {
	if !o.leaveTo.IsZero() && !o.heard {
		// The link forwards only now. What this node's kernel asked before
		// was lost, and it asks again a second later.
		o.heard, o.leaveTo = true, now.Add(returnWait)
	}
	_, down := w.down[c.node]
	if c.node != "" && !down && c.node != o.deferTo && !o.precedes(c.node, w.self) && !now.Before(o.leaveTo) {
		if o.state != awaiting {
			o.await(now)
		}
		o.holder, o.sent, o.next = c, 0, now.Add(awaitGap)
		return effects{}
	}
	if o.state == held && o.holder.mac == c.mac {
		o.answered = true
		return effects{}
	}
	return o.hold(now, c)
}

// probedBy is called when another node probes the address. Owners hardly do;
// those do that want it, and those that yield.
func (o *ownership) probedBy(now time.Time, w *world, c claim) effects {
	switch {
	case c.node == "":
	case o.state == awaiting && c.node == o.holder.node:
		return o.take(now, w)
	case o.state == held && c.node == o.deferTo:
		// Its view has changed since it won the dispute, and what kept this
		// node from taking the address is over.
		o.deferTo = ""
		return o.occupied(now, w, c)
	case o.state.serves():
		known := o.awaited(now)
		o.askedBy(now, c.node)
		if !known && o.awaited(now) {
			o.next = now
		}
	}
	return effects{}
}

// precedes reports whether x comes before y in the election as this node sees it.
func (o *ownership) precedes(x, y string) bool {
	i, j := slices.Index(o.want.Order, x), slices.Index(o.want.Order, y)
	return i >= 0 && (j < 0 || i < j)
}

// dispute settles two nodes' claims. The election's order decides as long as
// the other node may have seen the same election, and the order that depends on
// nobody's view when it can't have, or when the dispute goes on: the two views
// disagree, and without an order common to both each would insist for ever.
func (o *ownership) dispute(now time.Time, w *world, c claim) effects {
	begins := o.rival.node != c.node || now.Sub(o.rivalAt) > disputeGap
	if begins {
		o.disputed, o.disputeTold = now, false
	}
	o.rival, o.rivalAt = c, now
	_, down := w.down[c.node]
	loses := o.precedes(c.node, w.self)
	if down || now.Sub(o.disputed) > settleAfter {
		loses = w.outranks(c.node, w.self, o.want.Lead)
	}
	if loses {
		return o.concede(now, c)
	}
	at := o.insisted.Add(insistEvery)
	if !down {
		at = later(at, o.disputed.Add(insistAfter))
	}
	if at.After(now) {
		o.insistAt = at
		o.reschedule()
		if begins && now.Sub(o.since) >= settleAfter {
			// It is most likely the next owner, whom clients should hear
			// alone. Not so where this node is as new an owner itself.
			o.muted = true
			return effects{announce: stopAnnouncing}
		}
		return effects{}
	}
	return o.insist(now)
}

// insist announces against the rival's claim and tells of it once a dispute.
func (o *ownership) insist(now time.Time) effects {
	fx := effects{announce: repeatAnnouncing}
	if o.muted {
		fx.announce = startAnnouncing
	}
	o.insisted, o.insistAt, o.muted = now, time.Time{}, false
	o.reschedule()
	if !o.disputeTold {
		o.disputeTold = true
		won := o.event(SplitBrain, o.rival)
		won.Won = true
		fx.events = []Event{won}
	}
	return fx
}

// concede stops at once: the claimant answers already.
func (o *ownership) concede(now time.Time, c claim) effects {
	lost := o.event(SplitBrain, c)
	fx := o.stop()
	o.deferTo = c.node
	held := o.hold(now, c)
	fx.events = append([]Event{lost}, held.events...)
	return fx
}

// conflict answers a stranger's claim. The owner goes on: who is right can't be
// known, and a host could otherwise take any Service down by one frame.
func (o *ownership) conflict(now time.Time, c claim) effects {
	if grace := o.since.Add(graceForeign); now.Before(grace) {
		if grace.Before(o.nextProbe) {
			o.nextProbe = grace
			o.reschedule()
		}
		return effects{}
	}
	fx := o.report(now, c)
	if now.Sub(o.defended) >= defendEvery {
		o.defended = now
		fx.announce = repeatAnnouncing
	}
	return fx
}

// report tells of a stranger, again after a minute or when its MAC changes.
func (o *ownership) report(now time.Time, c claim) effects {
	tell := o.foreign.mac != c.mac || now.Sub(o.foreignTold) >= probeEvery
	o.foreign, o.foreignAt = c, now
	if !tell {
		return effects{}
	}
	o.foreignTold = now
	return effects{events: []Event{o.event(Conflict, c)}}
}

// watch is an owner's tick.
func (o *ownership) watch(now time.Time, w *world) effects {
	var fx effects
	if !o.insistAt.IsZero() && !o.insistAt.After(now) {
		fx = o.insist(now)
	}
	if !o.nextProbe.After(now) {
		fx.probe = calmProbe
		o.nextProbe = now.Add(w.spread(probeEvery))
	}
	if o.foreign != (claim{}) && now.Sub(o.foreignAt) >= conflictOver {
		fx.events = append(fx.events, o.event(ConflictOver, o.foreign))
		o.foreign = claim{}
	}
	o.reschedule()
	return fx
}

// reschedule sets an owner's next tick.
func (o *ownership) reschedule() {
	o.next = o.nextProbe
	if !o.insistAt.IsZero() && o.insistAt.Before(o.next) {
		o.next = o.insistAt
	}
}
