package ipam_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/herald-lb/herald/pkg/ipam"
)

// TestRules has a script for each rule of the package comment.
func TestRules(t *testing.T) {
	for name, script := range map[string]string{
		"order is the document's, then the lowest": `
			pools b 10.0.9.8/31 10.0.1.0/31; a 10.0.0.0/30
			allocate s1 -> 10.0.9.8
			allocate s2 -> 10.0.9.9
			allocate s3 -> 10.0.1.0
			allocate s4 -> 10.0.1.1
			allocate s5 -> 10.0.0.0
			release s3
			release s1
			observe s3 -> 10.0.1.0
			observe s1 -> 10.0.9.8
			allocate s6 -> 10.0.9.8
			allocate s7 -> 10.0.1.0`,
		"addresses asked for are stepped over, and found again when freed": `
			pools a 10.0.0.0/29
			allocate s1 =10.0.0.1
			allocate s2 =10.0.0.2
			allocate s3 -> 10.0.0.0
			allocate s4 -> 10.0.0.3
			release s2
			observe s2
			release s2
			allocate s5 =10.0.0.2
			release s5
			observe s5 -> 10.0.0.2
			allocate s6 -> 10.0.0.2
			allocate s7 -> 10.0.0.4`,
		"the last address there is": `
			pools a 255.255.255.254/31 ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe/127
			allocate s1 -> 255.255.255.254
			allocate s2 -> 255.255.255.255
			allocate s3 -> nothing !PoolExhausted
			release s2
			observe s2 -> 255.255.255.255
			allocate s3 -> 255.255.255.255
			allocate t1 v6 -> ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe
			allocate t2 v6 -> ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff
			allocate t3 v6 -> nothing !PoolExhausted`,
		"avoid-buggy-ips": `
			pools a,avoid 10.0.0.254-10.0.2.1
			allocate s1 -> 10.0.0.254
			allocate s2 -> 10.0.1.1
			allocate s3 =10.0.1.255 -> nothing !NotInPool
			adopt s4 shows 10.0.1.0
			held s4 -> 10.0.1.0
			allocate s4 -> 10.0.1.2 -10.0.1.0:NotInPool
			allocate s5 =10.0.2.1 -> 10.0.2.1
			usage -> a/IPv4=4+0/256`,
		"pool by name": `
			pools a 10.0.0.0/31; b,manual 10.0.1.0/31
			allocate s1 pool=b -> 10.0.1.0
			allocate s2 pool=c -> nothing !NoSuchPool
			allocate s2 =10.0.0.1 pool=b -> nothing !PoolConflict
			allocate s2 =10.0.1.1 pool=b -> 10.0.1.1
			allocate s3 pool=b -> nothing !PoolExhausted
			# dropping the name costs nothing
			allocate s1 -> 10.0.1.0
			# another name does
			allocate s1 pool=a -> 10.0.0.0 -10.0.1.0:PoolConflict
			# and so does a name added against the address asked for
			allocate s2 =10.0.1.1 pool=a -> nothing -10.0.1.1:PoolConflict !PoolConflict`,
		"no pool may be used unasked": `
			pools a,manual 10.0.0.0/31
			allocate s1 -> nothing !NoSuchPool`,
		"pools there are none": `
			pools
			allocate s1 -> nothing !NoSuchPool
			allocate s1 pool=a -> nothing !NoSuchPool
			allocate s1 =10.0.0.1 -> nothing !NotInPool`,
		"addresses asked for": `
			pools a,manual 10.0.0.0/30
			allocate s1 =10.0.0.2 -> 10.0.0.2
			allocate s2 =10.0.0.2 -> nothing !AddressTaken
			allocate s2 =10.0.0.9 -> nothing !NotInPool
			allocate s2 =::ffff:10.0.0.1 -> 10.0.0.1
			# dropping it costs nothing
			allocate s1 -> 10.0.0.2
			# one that can't be had costs the old one, until it is asked for again
			allocate s1 =10.0.0.1 -> nothing -10.0.0.2:Superseded !AddressTaken
			allocate s1 =10.0.0.1 -> nothing !AddressTaken
			allocate s1 =10.0.0.2 -> 10.0.0.2
			allocate s1 =10.0.0.3 -> 10.0.0.3 -10.0.0.2:Superseded
			allocate s3 =10.0.0.2 -> nothing !AddressTaken
			observe s1 10.0.0.2 -> nothing
			observe s1 10.0.0.2 10.0.0.3 -> nothing
			observe s1 10.0.0.3 -> 10.0.0.2
			allocate s3 =10.0.0.2 -> 10.0.0.2`,
		"a request that contradicts itself changes nothing": `
			pools a 10.0.0.0/29 fd00::/125
			allocate s1 require -> 10.0.0.0 fd00::
			allocate s1 v6 =10.0.0.0 -> 10.0.0.0 fd00:: !FamilyMismatch
			allocate s1 require =10.0.0.0 =10.0.0.1 -> 10.0.0.0 fd00:: !InvalidRequest
			observe s1 -> nothing
			allocate s1 require -> 10.0.0.0 fd00::`,
		"sharing packs in order": `
			pools a 10.0.0.0/29
			allocate x -> 10.0.0.0
			allocate s1 key=k 80/TCP -> 10.0.0.1
			allocate y -> 10.0.0.2
			allocate s2 key=k 80/TCP -> 10.0.0.3
			# on the first that suits
			allocate s3 key=k 81/TCP -> 10.0.0.1
			allocate s4 key=k 81/TCP -> 10.0.0.3
			allocate s5 key=k 80/UDP -> 10.0.0.1
			allocate s6 key=k 80/TCP 90/TCP -> 10.0.0.4
			allocate s7 key=other 82/TCP -> 10.0.0.5
			allocate s8 key=k backend=b 83/TCP -> 10.0.0.6
			# a free one that comes before is taken before
			release x
			observe x
			allocate s9 key=k 91/TCP -> 10.0.0.0
			allocate s10 key=k 92/TCP 90/TCP -> 10.0.0.0
			allocate s11 key=k 90/TCP 91/TCP -> 10.0.0.1
			allocate s12 key=k 92/TCP -> 10.0.0.1
			usage -> a/IPv4=7+0/8`,
		"sharing by range order": `
			pools a 10.0.9.0/31 10.0.0.0/31
			allocate s1 =10.0.0.1 key=k 80/TCP
			allocate s2 =10.0.9.0
			allocate s3 =10.0.9.1 key=k 80/TCP
			allocate s4 key=k 81/TCP -> 10.0.9.1
			allocate s5 key=k 80/TCP -> 10.0.0.0
			allocate s6 key=k 80/TCP -> nothing !PoolExhausted
			allocate s7 key=k 81/TCP -> 10.0.0.0`,
		"who may share": `
			pools a 10.0.0.0/29
			allocate s1 =10.0.0.0 key=k 80/TCP
			allocate s2 =10.0.0.0 81/TCP -> nothing !AddressTaken
			allocate s2 =10.0.0.0 key=j 81/TCP -> nothing !SharingRefused
			allocate s2 =10.0.0.0 key=k backend=b 81/TCP -> nothing !SharingRefused
			allocate s2 =10.0.0.0 key=k 80/TCP -> nothing !SharingRefused
			allocate s2 =10.0.0.0 key=k 80/UDP -> 10.0.0.0
			allocate s3 =10.0.0.1 80/TCP -> 10.0.0.1
			allocate s4 =10.0.0.1 key=k 81/TCP -> nothing !SharingRefused`,
		"the only holder changes in place, opening the address": `
			pools a 10.0.0.0/29
			allocate s1 =10.0.0.2 80/TCP
			allocate s1 key=k 80/TCP -> 10.0.0.2 +10.0.0.2
			allocate s1 key=j backend=b 80/TCP 443/TCP -> 10.0.0.2 +10.0.0.2
			allocate s2 =10.0.0.2 key=j backend=b 443/TCP -> nothing !SharingRefused
			allocate s1 key=j backend=b 80/TCP -> 10.0.0.2 +10.0.0.2
			allocate s2 =10.0.0.2 key=j backend=b 443/TCP -> 10.0.0.2
			release s2
			allocate s1 80/TCP -> 10.0.0.2`,
		"with others, who changes goes and the others stay": `
			pools a 10.0.0.0/29
			allocate s1 key=k 80/TCP -> 10.0.0.0
			allocate s2 key=k 81/TCP -> 10.0.0.0
			allocate s2 key=k 80/TCP -> 10.0.0.1 -10.0.0.0:SharingRefused
			allocate s1 key=k 80/TCP -> 10.0.0.0
			observe s2 10.0.0.1 -> 10.0.0.0
			allocate s3 key=k 82/TCP -> 10.0.0.0
			allocate s1 key=j 80/TCP -> 10.0.0.2 -10.0.0.0:SharingRefused
			allocate s3 key=k 82/TCP -> 10.0.0.0
			allocate s3 82/TCP -> 10.0.0.0
			allocate s2 =10.0.0.1 key=k 80/TCP -> 10.0.0.1`,
		"one that drains is for nobody else, with no key": `
			pools a 10.0.0.0/31
			allocate s1 key=k 80/TCP -> 10.0.0.0
			release s1
			held s1 -> nothing
			allocate s2 =10.0.0.0 key=k 81/TCP -> nothing !AddressTaken
			allocate s2 key=k 81/TCP -> 10.0.0.1
			usage -> a/IPv4=1+1/2
			# but for the one that gave it up
			allocate s1 key=k 80/TCP -> 10.0.0.0
			usage -> a/IPv4=2+0/2
			observe s1 -> nothing`,
		"ports that drain are in use for newcomers, not for those who share": `
			pools a 10.0.0.0/30
			allocate s1 key=k 80/TCP -> 10.0.0.0
			allocate s2 key=k 81/TCP -> 10.0.0.0
			release s1
			allocate s3 =10.0.0.0 key=k 80/TCP -> nothing !SharingRefused
			allocate s3 key=k 80/TCP -> 10.0.0.1
			allocate s2 key=k 80/TCP -> 10.0.0.0 +10.0.0.0
			allocate s1 key=k 80/TCP -> 10.0.0.2
			observe s1 10.0.0.2 -> 10.0.0.0
			held s2 -> 10.0.0.0
			allocate s4 key=k 81/TCP -> 10.0.0.0`,
		"an address with two keys on it, one of which drains, is for no newcomer": `
			pools a 10.0.0.0/30
			allocate s1 key=k 80/TCP
			allocate s2 key=k 81/TCP -> 10.0.0.0
			release s1
			allocate s2 key=j 81/TCP -> 10.0.0.0 +10.0.0.0
			allocate s3 key=j 82/TCP -> 10.0.0.1
			allocate s4 =10.0.0.0 key=j 83/TCP -> nothing !SharingRefused
			observe s1 -> 10.0.0.0
			allocate s5 key=j 82/TCP -> 10.0.0.0`,
		"draining ends by Observe alone, and once": `
			pools a 10.0.0.0/31
			allocate s1 -> 10.0.0.0
			release s1
			release s1
			observe s1 10.0.0.0 -> nothing
			observe s1 -> 10.0.0.0
			observe s1 -> nothing
			release s1
			observe nobody -> nothing
			# what is held does not depend on what is shown
			allocate s2 -> 10.0.0.0
			observe s2 -> nothing
			held s2 -> 10.0.0.0`,
		"no configuration": `
			adopt s1 shows 10.0.0.1
			adopt s4 prefer shows fd00::1
			allocate s1 -> 10.0.0.1
			allocate s1 =10.0.0.1 -> 10.0.0.1
			allocate s1 =10.0.0.2 -> 10.0.0.1 !NoConfiguration
			allocate s1 require -> 10.0.0.1 !NoConfiguration
			allocate s1 prefer -> 10.0.0.1
			allocate s4 prefer -> fd00::1
			allocate s2 -> nothing !NoConfiguration
			allocate s3 v6 =10.0.0.1 -> nothing !FamilyMismatch
			usage
			stranded a 10.0.0.2/31 -> s1:10.0.0.1:NotInPool s4:fd00::1:NotInPool
			pools a 10.0.0.0/31
			allocate s2 -> 10.0.0.0
			allocate s1 -> 10.0.0.1`,
	} {
		t.Run(name, func(t *testing.T) { run(t, script) })
	}
}

// TestDualStack has a script for each case of two families.
func TestDualStack(t *testing.T) {
	for name, script := range map[string]string{
		"required: both out of one pool, or none": `
			pools four 10.0.0.0/30; six fd06::/126; both 10.0.1.0/31 fd01::/126
			allocate s1 require -> 10.0.1.0 fd01::
			allocate s2 require64 -> fd01::1 10.0.1.1
			allocate s3 require -> nothing !PoolExhausted
			allocate s3 require pool=four -> nothing !PoolExhausted
			usage -> four/IPv4=0+0/4 six/IPv6=0+0/4 both/IPv4=2+0/2 both/IPv6=2+0/4`,
		"required: explicit addresses": `
			pools a 10.0.0.0/30 fd00::/126; b 10.0.1.0/30 fd01::/126; four 10.0.2.0/30
			allocate s1 require =10.0.1.2 -> 10.0.1.2 fd01::
			allocate s2 require =fd01::3 -> 10.0.1.0 fd01::3
			allocate s3 require =10.0.0.0 =fd01::2 -> 10.0.0.0 fd01::2
			allocate s4 require =10.0.2.0 -> nothing !PoolExhausted
			allocate s4 require =10.0.2.0 =fd00:: -> 10.0.2.0 fd00::
			allocate s5 require =10.0.2.1 pool=a -> nothing !PoolConflict
			# asking no more costs nothing
			allocate s3 require -> 10.0.0.0 fd01::2
			# one that can't be had costs both
			allocate s3 require =fd01::3 -> nothing -10.0.0.0:AddressTaken -fd01::2:Superseded !AddressTaken
			# and both come back
			allocate s3 require =10.0.0.0 =fd01::2 -> 10.0.0.0 fd01::2`,
		"from one family to required": `
			pools four 10.0.0.0/30; a 10.0.1.0/30 fd01::/127
			allocate s1 =10.0.1.1 -> 10.0.1.1
			allocate s1 require -> 10.0.1.1 fd01::
			allocate s2 -> 10.0.0.0
			allocate s2 require -> 10.0.1.0 fd01::1 -10.0.0.0:PoolExhausted
			observe s2 10.0.1.0 fd01::1 -> 10.0.0.0
			allocate s3 -> 10.0.0.0
			allocate s3 require -> nothing -10.0.0.0:PoolExhausted !PoolExhausted
			allocate s3 require -> nothing !PoolExhausted
			allocate s3 -> 10.0.0.0
			allocate s3 require =10.0.0.0 -> nothing -10.0.0.0:PoolExhausted !PoolExhausted`,
		"from required to one family": `
			pools a 10.0.1.0/30 fd01::/127
			allocate s1 require -> 10.0.1.0 fd01::
			allocate s1 prefer64 -> fd01:: 10.0.1.0
			allocate s1 v6 -> fd01:: -10.0.1.0:FamilyMismatch
			observe s1 fd01:: -> 10.0.1.0`,
		"preferred: a pool with both, else the first family": `
			pools four 10.0.0.0/30; six fd06::/126; both 10.0.1.0/31 fd01::/128
			allocate s1 prefer -> 10.0.1.0 fd01::
			allocate s2 prefer -> 10.0.0.0
			allocate s3 prefer64 -> fd06::
			allocate s4 prefer pool=both -> 10.0.1.1
			allocate s5 prefer pool=six -> nothing !PoolExhausted
			# the second when there is one, without moving the first
			allocate s2 prefer -> 10.0.0.0
			allocate s4 prefer -> 10.0.1.1
			release s1
			observe s1
			allocate s4 prefer -> 10.0.1.1 fd01::
			allocate s2 prefer -> 10.0.0.0`,
		"preferred: explicit addresses": `
			pools a 10.0.0.0/30 fd00::/128; four 10.0.2.0/30
			allocate s1 prefer =10.0.2.0 -> 10.0.2.0
			allocate s2 prefer =fd00:: -> 10.0.0.0 fd00::
			allocate s3 prefer =10.0.0.3 =fd00:: -> 10.0.0.3 !AddressTaken
			allocate s1 prefer =10.0.0.3 -> nothing -10.0.2.0:Superseded !AddressTaken
			# of what drains too, the two must be of one pool
			allocate s1 prefer =10.0.0.1 -> 10.0.0.1`,
		"taking back what drains": `
			pools a 10.0.0.0/30 fd00::/126; b 10.0.1.0/30 fd01::/126
			allocate s1 require =10.0.1.3 =fd01::3 -> 10.0.1.3 fd01::3
			release s1
			allocate s1 require -> 10.0.1.3 fd01::3
			allocate s2 =10.0.0.3 -> 10.0.0.3
			allocate s2 v6 =fd01::2 -> fd01::2 -10.0.0.3:FamilyMismatch
			allocate s2 require -> 10.0.1.0 fd01::2
			allocate s2 require =10.0.0.3 -> 10.0.0.3 fd01::2 -10.0.1.0:Superseded`,
		"each family shares for itself": `
			pools a 10.0.0.0/30 fd00::/126
			allocate s1 key=k 80/TCP -> 10.0.0.0
			allocate s2 require key=k 81/TCP -> 10.0.0.0 fd00::
			allocate s3 v6 key=k 80/TCP -> fd00::
			allocate s1 require key=k 80/TCP -> 10.0.0.0 fd00::1
			allocate s2 require key=k 80/TCP -> 10.0.0.1 fd00::2 -10.0.0.0:SharingRefused -fd00:::SharingRefused`,
		"pools split under a Service": `
			pools a 10.0.0.0/30 fd00::/126
			allocate s1 require -> 10.0.0.0 fd00::
			pools a 10.0.0.0/30; b fd00::/126
			allocate s1 require -> 10.0.0.0 fd00::
			pools a 10.0.0.0/30; b 10.0.1.0/30 fd01::/126
			allocate s1 require -> 10.0.1.0 fd01:: -10.0.0.0:PoolExhausted -fd00:::NotInPool`,
	} {
		t.Run(name, func(t *testing.T) { run(t, script) })
	}
}

// TestAdopt has a script for each way in which a start may find things.
func TestAdopt(t *testing.T) {
	for name, script := range map[string]string{
		"no held address is given away": `
			adopt-all s1 shows 10.0.0.0; s2 shows 10.0.0.1
			pools a 10.0.0.0/30
			allocate new -> 10.0.0.2
			allocate s2 -> 10.0.0.1
			allocate s1 -> 10.0.0.0`,
		"outside of the pools too": `
			adopt s1 shows 10.0.9.1
			pools a 10.0.0.0/30
			held s1 -> 10.0.9.1
			usage -> a/IPv4=0+0/4
			stranded b 10.0.1.0/24 -> nothing
			pools a 10.0.0.0/30; b 10.0.9.0/24
			allocate s2 =10.0.9.1 -> nothing !AddressTaken
			allocate s1 -> 10.0.9.1
			usage -> a/IPv4=0+0/4 b/IPv4=1+0/256
			stranded b 10.0.1.0/24 -> s1:10.0.9.1:NotInPool
			stranded a,manual 10.0.9.0/24; b 10.0.0.0/30 -> nothing`,
		"order: not deleting, asked for, oldest, name": `
			pools a 10.0.0.0/24
			adopt-all old deleting day=1 shows 10.0.0.1; new day=9 shows 10.0.0.1
			held new -> 10.0.0.1
			held old -> nothing
			adopt-all old2 day=1 shows 10.0.0.2; asked day=9 =10.0.0.2 shows 10.0.0.2
			held asked -> 10.0.0.2
			adopt-all other day=1 =10.0.0.99 shows 10.0.0.6; old5 day=2 shows 10.0.0.6
			held old5 -> 10.0.0.6
			adopt-all new3 day=3 shows 10.0.0.3; old3 day=2 shows 10.0.0.3
			held old3 -> 10.0.0.3
			adopt-all b shows 10.0.0.4; a shows 10.0.0.4
			held a -> 10.0.0.4
			allocate b -> 10.0.0.0 -10.0.0.4:AddressTaken
			allocate new3 key=k -> 10.0.0.5 -10.0.0.3:SharingRefused
			# asking for it makes nobody else lose it
			allocate old2 =10.0.0.2 -> nothing -10.0.0.2:AddressTaken !AddressTaken
			allocate asked =10.0.0.2 -> 10.0.0.2`,
		"those who may share do": `
			adopt-all s1 key=k 80/TCP shows 10.0.0.1; s2 key=k 81/TCP shows 10.0.0.1; s3 key=k 80/TCP shows 10.0.0.1
			pools a 10.0.0.0/30
			held s1 -> 10.0.0.1
			held s2 -> 10.0.0.1
			held s3 -> nothing
			allocate s4 key=k 82/TCP -> 10.0.0.0
			allocate s5 =10.0.0.1 key=k 80/TCP -> nothing !SharingRefused
			allocate s3 key=k 80/TCP -> 10.0.0.0 -10.0.0.1:SharingRefused
			allocate s1 key=k 80/TCP -> 10.0.0.1`,
		"a second claimant keeps the address when the first has gone": `
			adopt-all s1 shows 10.0.0.1; s2 shows 10.0.0.1; s3 shows 10.0.0.1
			pools a 10.0.0.0/30
			release s1
			observe s1 -> 10.0.0.1
			usage -> a/IPv4=0+1/4
			allocate new =10.0.0.1 -> nothing !AddressTaken
			allocate s3 -> 10.0.0.1
			allocate s2 -> 10.0.0.0 -10.0.0.1:AddressTaken
			release s2
			observe s2 -> 10.0.0.1 10.0.0.0
			held s3 -> 10.0.0.1`,
		"a second claimant that is released": `
			adopt-all s1 shows 10.0.0.1; s2 shows 10.0.0.1
			pools a 10.0.0.0/30
			release s2
			observe s2 -> 10.0.0.1
			held s1 -> 10.0.0.1`,
		"adopted again with what has changed": `
			adopt s1 key=k 80/TCP shows 10.0.0.1
			adopt s2 key=k 81/TCP shows 10.0.0.1
			adopt s2 key=k 80/TCP shows 10.0.0.1
			held s1 -> 10.0.0.1
			held s2 -> nothing
			adopt s2 key=k 82/TCP shows 10.0.0.1 10.0.0.2
			held s2 -> 10.0.0.1 10.0.0.2
			release s2
			adopt s2 key=k 82/TCP shows 10.0.0.2
			held s2 -> 10.0.0.2`,
		"nothing shown is nothing adopted": `
			adopt s1
			held s1 -> nothing
			pools a 10.0.0.0/32
			allocate s2 -> 10.0.0.0`,
	} {
		t.Run(name, func(t *testing.T) { run(t, script) })
	}
}

// TestReconfigure has a script for each change of pools under Services.
func TestReconfigure(t *testing.T) {
	for name, script := range map[string]string{
		"removed: kept until the next Allocate": `
			pools a 10.0.0.0/30
			allocate s1 -> 10.0.0.0
			pools b 10.0.1.0/30
			held s1 -> 10.0.0.0
			usage -> b/IPv4=0+0/4
			allocate s1 -> 10.0.1.0 -10.0.0.0:NotInPool
			pools b 10.0.1.0/30; a 10.0.0.0/30
			usage -> b/IPv4=1+0/4 a/IPv4=0+1/4
			allocate s2 =10.0.0.0 -> nothing !AddressTaken
			observe s1 10.0.1.0 -> 10.0.0.0
			allocate s2 =10.0.0.0 -> 10.0.0.0`,
		"removed and put back: nobody moves": `
			pools a 10.0.0.0/30
			allocate s1 -> 10.0.0.0
			pools b 10.0.1.0/30
			pools a 10.0.0.0/30
			allocate s1 -> 10.0.0.0`,
		"renamed: kept, but not by who names it": `
			pools a 10.0.0.0/30
			allocate s1 -> 10.0.0.0
			allocate s2 pool=a -> 10.0.0.1
			stranded b 10.0.0.0/30 -> s2:10.0.0.1:NoSuchPool
			stranded b 10.0.0.0/30; a 10.0.1.0/30 -> s2:10.0.0.1:PoolConflict
			pools b 10.0.0.0/30; a 10.0.1.0/30
			allocate s1 -> 10.0.0.0
			allocate s2 pool=a -> 10.0.1.0 -10.0.0.1:PoolConflict`,
		"no longer auto-assign: kept": `
			pools a 10.0.0.0/30
			allocate s1 -> 10.0.0.0
			pools a,manual 10.0.0.0/30
			allocate s1 -> 10.0.0.0`,
		"avoid-buggy-ips turned on": `
			pools a 10.0.0.0/30
			allocate s1 -> 10.0.0.0
			stranded a,avoid 10.0.0.0/30 -> s1:10.0.0.0:NotInPool
			pools a,avoid 10.0.0.0/30
			allocate s1 -> 10.0.0.1 -10.0.0.0:NotInPool
			observe s1 10.0.0.1 -> 10.0.0.0
			usage -> a/IPv4=1+0/3`,
		"sharing goes on": `
			pools a 10.0.0.0/30
			allocate s1 key=k 80/TCP -> 10.0.0.0
			pools b 10.0.0.0/29
			allocate s2 key=k 81/TCP -> 10.0.0.0
			allocate s3 key=k 81/TCP -> 10.0.0.1`,
		"freed below the cursor is found after a change": `
			pools a 10.0.0.0/30
			allocate s1 -> 10.0.0.0
			allocate s2 -> 10.0.0.1
			release s1
			observe s1
			pools a 10.0.0.0/29
			allocate s3 -> 10.0.0.0
			allocate s4 -> 10.0.0.2`,
		"lost already is not lost again": `
			pools a 10.0.0.0/30
			allocate s1 -> 10.0.0.0
			pools b 10.0.1.0/30
			stranded c 10.0.2.0/30 -> nothing`,
	} {
		t.Run(name, func(t *testing.T) { run(t, script) })
	}
}

// TestRefusals holds the words of every refusal: what is wrong, with whom, and
// the way out.
func TestRefusals(t *testing.T) {
	const setUp = `
		pools a 10.0.0.0/31; b,manual,avoid 10.0.1.0/24; six,manual fd00::/127
		allocate ns/x key=k 80/TCP
		allocate ns/y
		allocate ns/z pool=b backend=l key=k 80/TCP
		allocate ns/gone pool=b
		release ns/gone
		`
	for _, tt := range []struct {
		ask    string
		reason ipam.Reason
		detail string
	}{
		{"s", ipam.PoolExhausted, `pool "a" has no free IPv4 address: 2 of 2 in use; enlarge it or free an address`},
		{"s v6", ipam.PoolExhausted, `pool "a" has no IPv6 addresses; add a range of them, or ask for another pool`},
		{"s prefer", ipam.PoolExhausted, `pool "a" has no free IPv4 address: 2 of 2 in use; enlarge it or free an address`},
		{"s require", ipam.PoolExhausted, `dual stack is required, but pool "a" has no free IPv4 address: 2 of 2 in use; enlarge it or free an address`},
		{"s key=k 80/TCP", ipam.PoolExhausted, `pool "a" has no IPv4 address that is free or may be shared: 2 of 2 in use; enlarge it or free an address`},
		{"s require pool=b", ipam.PoolExhausted, `dual stack is required, but pool "b" has no IPv6 addresses; add a range of them, or ask for another pool`},
		{"s pool=c", ipam.NoSuchPool, `there is no pool "c"; name one of: "a", "b", "six"`},
		{"s =10.9.9.9", ipam.NotInPool, `10.9.9.9 is in no pool; use an address of a pool, or add a range with it to one`},
		{"s =10.0.1.0", ipam.NotInPool, `10.0.1.0 is left out of pool "b" by avoid-buggy-ips; use another address`},
		{"s =10.0.0.1 pool=b", ipam.PoolConflict, `10.0.0.1 is of pool "a", but the Service asks for pool "b"; ask for one or the other`},
		{"s =10.0.0.1", ipam.AddressTaken, `10.0.0.1 is held by ns/y; choose another address, or give both Services the same allow-shared-ip key`},
		{"s =10.0.1.2", ipam.AddressTaken, `10.0.1.2 is given up by ns/gone but still in its status; wait until it is not`},
		{"s =10.0.0.1 key=k", ipam.SharingRefused, `10.0.0.1 is held by ns/y, which does not share it; give both Services the same allow-shared-ip key`},
		{"s =10.0.0.0 key=j", ipam.SharingRefused, `10.0.0.0 is held by ns/x with another sharing key; give both Services the same allow-shared-ip key`},
		{"s =10.0.1.1 key=k", ipam.SharingRefused, `10.0.1.1 is held by ns/z with other backends; use externalTrafficPolicy Cluster on both, or Local on both with the same selector`},
		{"s =10.0.0.0 key=k 80/TCP", ipam.SharingRefused, `10.0.0.0 has port 80/TCP in use by ns/x; use another port or another address`},
		{"s =fd00::", ipam.FamilyMismatch, `fd00:: is IPv6, but the Service wants IPv4; change the address or spec.ipFamilies`},
		{"s =10.0.1.5 =10.0.1.6", ipam.InvalidRequest, `the Service asks for both 10.0.1.5 and 10.0.1.6; ask for one IPv4 address`},
	} {
		t.Run(tt.ask, func(t *testing.T) {
			a := run(t, setUp)
			_, err := a.Allocate(adoption(t, tt.ask).Request)
			var refusal *ipam.Refusal
			if !errors.As(err, &refusal) {
				t.Fatalf("no refusal: %v", err)
			}
			if refusal.Reason != tt.reason || refusal.Detail != tt.detail {
				t.Errorf("got %v %q", refusal.Reason, refusal.Detail)
			}
			if refusal.Holder != "" && !strings.Contains(tt.detail, refusal.Holder) {
				t.Errorf("holder %q is not in the words", refusal.Holder)
			}
			if refusal.Address.IsValid() && !strings.Contains(tt.detail, refusal.Address.String()) {
				t.Errorf("address %v is not in the words", refusal.Address)
			}
			if want := "s: " + tt.detail; refusal.Error() != want {
				t.Errorf("got %q, want %q", refusal.Error(), want)
			}
		})
	}
}
