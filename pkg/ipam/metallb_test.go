package ipam_test

import "testing"

// TestMetalLB runs the lists that MetalLB v0.9.3 and v0.12.1 test their
// allocator with. Where a list moves a Service by freeing its address, the API
// is told of at once, so that draining plays no part.
func TestMetalLB(t *testing.T) {
	for name, script := range map[string]string{
		"Assignment IPv4": `
			pools p 1.2.3.4/31; q,avoid 1.2.4.0-1.2.4.10 1.2.4.255/32
			allocate s1 =1.2.3.4 -> 1.2.3.4
			allocate s1 =1.2.3.4 -> 1.2.3.4
			allocate s2 =1.2.3.4 -> nothing !AddressTaken
			allocate s2 =1.2.3.5 -> 1.2.3.5
			allocate s1 =1.2.3.5 -> nothing -1.2.3.4:Superseded !AddressTaken
			observe s1 -> 1.2.3.4
			allocate s2 =1.2.3.4 -> 1.2.3.4 -1.2.3.5:Superseded
			observe s2 1.2.3.4 -> 1.2.3.5
			allocate s1 =1.2.3.5 -> 1.2.3.5
			allocate s3 =1.2.4.0 -> nothing !NotInPool
			allocate s3 =1.2.4.255 -> nothing !NotInPool
			allocate s3 =1.2.4.3 -> 1.2.4.3
			allocate s4 =1.2.4.4 key=sharing 80/TCP -> 1.2.4.4
			allocate s4 =1.2.4.4 key=other 80/TCP -> 1.2.4.4 +1.2.4.4
			allocate s4 =1.2.4.4 key=sharing 80/TCP -> 1.2.4.4 +1.2.4.4
			# MetalLB's s3 keeps 1.2.4.3 through these; ours does not want it any more
			allocate s5 =1.2.4.4 key=sharing 80/TCP -> nothing !SharingRefused
			allocate s5 =1.2.4.4 key=wrong 443/TCP -> nothing !SharingRefused
			allocate s5 =1.2.4.4 key=sharing backend=b 443/TCP -> nothing !SharingRefused
			allocate s5 =1.2.4.4 key=sharing 443/TCP -> 1.2.4.4
			allocate s5 =1.2.4.4 key=sharing 25/TCP -> 1.2.4.4 +1.2.4.4
			allocate s5 key=changed 25/TCP -> 1.2.4.1 -1.2.4.4:SharingRefused`,
		"Assignment IPv6": `
			pools p 1000::4/127; q,avoid 1000::4:0/120
			allocate s1 v6 =1000::4 -> 1000::4
			allocate s1 v6 =1000::4 -> 1000::4
			allocate s2 v6 =1000::4 -> nothing !AddressTaken
			allocate s2 v6 =1000::5 -> 1000::5
			allocate s1 v6 =1000::5 -> nothing -1000::4:Superseded !AddressTaken
			observe s1 -> 1000::4
			allocate s2 v6 =1000::4 -> 1000::4 -1000::5:Superseded
			observe s2 1000::4 -> 1000::5
			allocate s1 v6 =1000::5 -> 1000::5
			# avoid-buggy-ips says nothing of IPv6
			allocate s3 v6 =1000::4:0 -> 1000::4:0
			allocate s3 v6 =1000::4:ff -> 1000::4:ff -1000::4:0:Superseded
			allocate s4 v6 =1000::4:4 key=sharing 80/TCP -> 1000::4:4
			allocate s4 v6 =1000::4:4 key=other 80/TCP -> 1000::4:4 +1000::4:4
			allocate s5 v6 =1000::4:4 key=other 80/TCP -> nothing !SharingRefused
			allocate s5 v6 =1000::4:4 key=wrong 443/TCP -> nothing !SharingRefused
			allocate s5 v6 =1000::4:4 key=other backend=b 443/TCP -> nothing !SharingRefused
			allocate s5 v6 =1000::4:4 key=other 443/TCP -> 1000::4:4`,
		"Assignment dual stack": `
			pools p 1.2.3.4/31 1000::4/127; q 1.2.4.0/31 2000::/127
			allocate s1 require =1.2.3.4 =1000::4 -> 1.2.3.4 1000::4
			# MetalLB refuses two pools; here they were asked for
			allocate s2 require =1.2.3.5 =2000::1 -> 1.2.3.5 2000::1
			allocate s3 require =1.2.3.4 =1000::5 -> nothing !AddressTaken
			allocate s4 require =1.2.3.9 =1000::5 -> nothing !NotInPool`,
		"PoolAllocation IPv4": `
			pools p,manual 192.168.1.0/24; q,avoid 1.2.4.0/30 1.2.4.254/31
			allocate s1 pool=q -> 1.2.4.1
			allocate s2 pool=q -> 1.2.4.2
			allocate s3 pool=q -> 1.2.4.3
			allocate s4 pool=q -> 1.2.4.254
			allocate s5 pool=q -> nothing !PoolExhausted
			allocate s6 pool=q -> nothing !PoolExhausted
			release s1
			observe s1 -> 1.2.4.1
			allocate s5 pool=q -> 1.2.4.1
			allocate s6 pool=q -> nothing !PoolExhausted
			allocate s5 pool=q key=share 80/TCP -> 1.2.4.1 +1.2.4.1
			allocate s6 pool=q key=share 443/TCP -> 1.2.4.1
			allocate s1 v6 pool=q -> nothing !PoolExhausted`,
		"PoolAllocation dual stack": `
			pools p 1.2.3.0/31 1000::/127
			allocate s1 pool=p -> 1.2.3.0
			allocate s1 v6 pool=p -> 1000:: -1.2.3.0:FamilyMismatch
			observe s1 1000:: -> 1.2.3.0
			allocate s2 require -> 1.2.3.0 1000::1
			allocate s3 require -> nothing !PoolExhausted
			release s1
			observe s1 -> 1000::
			allocate s3 require -> 1.2.3.1 1000::
			allocate s4 require -> nothing !PoolExhausted
			allocate s3 require key=k 80/TCP -> 1.2.3.1 1000:: +1.2.3.1 +1000::
			allocate s4 require key=k 81/TCP -> 1.2.3.1 1000::`,
		"Allocation": `
			pools p 1.2.3.4/31 1000::4/127; q 1.2.4.4/31 1000::8/127
			allocate s1 -> 1.2.3.4
			allocate s2 -> 1.2.3.5
			allocate s3 -> 1.2.4.4
			allocate s4 -> 1.2.4.5
			allocate s5 -> nothing !PoolExhausted
			release s1
			observe s1 -> 1.2.3.4
			allocate s5 -> 1.2.3.4
			allocate s6 -> nothing !PoolExhausted
			allocate s5 key=share 80/TCP -> 1.2.3.4 +1.2.3.4
			allocate s6 key=share 443/TCP -> 1.2.3.4
			allocate s7 v6 -> 1000::4
			allocate s8 v6 -> 1000::5
			allocate s9 v6 -> 1000::8
			allocate s10 v6 -> 1000::9
			allocate s11 v6 -> nothing !PoolExhausted
			allocate s11 require -> nothing !PoolExhausted`,
		"BuggyIPs": `
			pools a 1.2.3.0/31; b 1.2.3.254/31; c,avoid 1.2.4.0/31; d,avoid 1.2.4.254/31
			allocate s1 -> 1.2.3.0
			allocate s2 -> 1.2.3.1
			allocate s3 -> 1.2.3.254
			allocate s4 -> 1.2.3.255
			allocate s5 -> 1.2.4.1
			allocate s6 -> 1.2.4.254
			allocate s7 -> nothing !PoolExhausted`,
		"ConfigReload": `
			pools a 1.2.3.0/30 1000::/126
			allocate s1 =1.2.3.0 -> 1.2.3.0
			allocate s2 v6 =1000:: -> 1000::
			stranded a 1.2.3.0/30 1000::/126 -> nothing
			stranded a 1.2.3.0/29 1000::/120 -> nothing
			stranded a 1.2.3.0/31 1000::/127 -> nothing
			stranded a 1.2.3.2/31 1000::/127 -> s1:1.2.3.0:NotInPool
			stranded a 1.2.3.0/31 1000::2/127 -> s2:1000:::NotInPool
			stranded b 1.2.3.0/30 1000::/126 -> nothing
			stranded a 1.2.3.0/31 1000::/127; b 1.2.3.2/31 1000::2/127 -> nothing
			stranded b 1.2.3.0/31 1000::/127; a 1.2.3.2/31 1000::2/127 -> nothing
			stranded b 1.2.4.0/24 -> s1:1.2.3.0:NotInPool s2:1000:::NotInPool
			stranded a 1.2.3.0/30 1000::/126; b 1.2.4.0/24 -> nothing
			stranded a,avoid 1.2.3.0/30 1000::/126 -> s1:1.2.3.0:NotInPool`,
		"AutoAssign": `
			pools a,manual 1.2.3.0/31 1000::/127; b 1.2.4.0/31 2000::/127
			allocate s1 -> 1.2.4.0
			allocate s2 -> 1.2.4.1
			allocate s3 -> nothing !PoolExhausted
			allocate s4 v6 -> 2000::
			allocate s5 v6 -> 2000::1
			allocate s6 v6 -> nothing !PoolExhausted
			allocate s3 pool=a -> 1.2.3.0
			allocate s6 v6 =1000::1 -> 1000::1`,
		"PoolCount": `
			pools a 1.2.3.0/24; b 2.2.3.0/24 2.2.4.0/25; c,avoid 3.2.3.0/24 3.2.4.0/25; d 4.2.3.0/24 1000::/64
			usage -> a/IPv4=0+0/256 b/IPv4=0+0/384 c/IPv4=0+0/381 d/IPv4=0+0/256 d/IPv6=0+0/18446744073709551615`,
		"PoolMetrics": `
			pools a 1.2.3.4/30
			allocate s1 key=k 80/TCP
			usage -> a/IPv4=1+0/4
			allocate s2 =1.2.3.5
			usage -> a/IPv4=2+0/4
			release s2
			usage -> a/IPv4=1+1/4
			observe s2
			usage -> a/IPv4=1+0/4
			allocate s3 key=k 81/TCP
			allocate s4 key=k 82/TCP
			usage -> a/IPv4=1+0/4
			release s1
			observe s1
			release s3
			observe s3
			usage -> a/IPv4=1+0/4
			release s4
			observe s4
			usage -> a/IPv4=0+0/4`,
		// The parts of TestControllerMutation and TestDeleteRecyclesIP that
		// concern the allocator.
		"ControllerMutation": `
			pools p1 1.2.3.0/24; p2,manual 3.4.5.0/24; v6 1000::/16
			allocate s -> 1.2.3.0
			allocate s =1.2.3.4 -> 1.2.3.4 -1.2.3.0:Superseded
			observe s 1.2.3.4 -> 1.2.3.0
			allocate s =4.2.3.4 -> nothing -1.2.3.4:Superseded !NotInPool
			observe s -> 1.2.3.4
			allocate s pool=p2 -> 3.4.5.0
			allocate s pool=p1 -> 1.2.3.0 -3.4.5.0:PoolConflict
			allocate s pool=does-not-exist -> nothing -1.2.3.0:NoSuchPool !NoSuchPool
			observe s -> 3.4.5.0 1.2.3.0
			adopt outside shows 2.3.4.5
			allocate outside -> 1.2.3.0 -2.3.4.5:NotInPool
			adopt two shows 1.2.3.10 1.2.3.100
			allocate two -> 1.2.3.10 -1.2.3.100:Superseded
			allocate wrong =1000::4 -> nothing !FamilyMismatch
			allocate wrong v6 =1.2.3.4 -> nothing !FamilyMismatch
			adopt has6 shows 1000::3
			allocate has6 -> 1.2.3.1 -1000::3:FamilyMismatch
			adopt has4 shows 1.2.3.9
			allocate has4 v6 -> 1000:: -1.2.3.9:FamilyMismatch
			allocate both require =1.2.3.8 =1.2.3.7 -> nothing !InvalidRequest`,
		"DeleteRecyclesIP": `
			pools a 1.2.3.0/32
			allocate s1 -> 1.2.3.0
			allocate s2 -> nothing !PoolExhausted
			release s1
			observe s1 -> 1.2.3.0
			allocate s2 -> 1.2.3.0`,
	} {
		t.Run(name, func(t *testing.T) { run(t, script) })
	}
}
