// SPDX-License-Identifier: Apache-2.0

package model

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// step is one operation of a history, and how much time passes after it. What it chooses
// comes from its own seed, so that it does the same when others are left out.
type step struct {
	operation int
	seed      uint64
	then      time.Duration
}

// operations are what can happen, with how often it does.
var operations = []struct {
	name   string
	weight int
	do     func(w *world, m *machine, r *rand.Rand)
}{
	{"spot notice", 8, spotNotice},
	{"rebalance recommendation", 6, rebalance},
	{"capacity reservation", 3, reservation},
	{"schedule maintenance", 10, scheduleMaintenance},
	{"repeat maintenance", 3, repeatMaintenance},
	{"move maintenance", 5, moveMaintenance},
	{"cancel maintenance", 5, cancelMaintenance},
	{"do maintenance", 3, doMaintenance},
	{"terminate in group", 8, terminateInGroup},
	{"launch from warm pool", 4, launchFromPool},
	{"stop", 4, stopInstance},
	{"start", 4, startInstance},
	{"reboot", 8, reboot},
	{"flap", 8, flap},
	{"register anew", 7, registerAnew},
	{"rename node", 3, renameNode},
	{"delete node", 3, deleteNode},
	{"schedule pod", 6, schedulePod},
	{"bind pod", 4, bindPod},
	{"tolerant pods", 4, tolerantPods},
	{"change budget", 3, changeBudget},
	{"annotate", 4, annotate},
	{"remove annotation", 3, removeAnnotation},
	{"delete NodeTermination", 2, deleteTermination},
	{"suspend", 2, suspend},
	{"uncordon", 5, uncordon},
	{"refuse changes of Nodes", 3, refuseChanges},
	{"unreachable", 3, unreachable},
	{"forge state changes", 2, forgeStateChanges},
	{"restart manager", 4, restartManager},
	{"restart watcher", 4, restartWatcher},
	{"edit policy", 2, editPolicy},
	{"suspend policy", 2, suspendPolicy},
	{"take turns", 3, takeTurns},
	{"rename policy", 3, renamePolicy},
	{"dry run", 2, dryRun},
	{"delete policy", 1, deletePolicy},
	{"add policy", 2, addPolicy},
	{"wait", 5, func(*world, *machine, *rand.Rand) {}},
}

// pauses are how much time passes between operations.
var pauses = []time.Duration{
	0, time.Second, 3 * time.Second, 10 * time.Second, 20 * time.Second, 40 * time.Second, time.Minute, 100 * time.Second, 3 * time.Minute,
	5 * time.Minute, 10 * time.Minute, 20 * time.Minute, time.Hour, 3 * time.Hour, 24 * time.Hour,
}

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

// delay is how long a message is on its way: seconds mostly.
func delay(r *rand.Rand) time.Duration {
	if r.IntN(4) > 0 {
		return time.Duration(r.IntN(6)) * time.Second
	}
	return pick(r, pauses[4:len(pauses)-2])
}

// deliverBy sends a message, sometimes twice. Lost ones are those of what has another evidence.
func (w *world) deliverBy(r *rand.Rand, body, about string, mayLose bool) {
	if mayLose && r.IntN(8) == 0 {
		w.logf("lost: %s", about)
		return
	}
	w.send(body, about, delay(r))
	if r.IntN(4) == 0 {
		w.send(body, about+" (duplicate)", delay(r))
	}
}

// chance reports whether something happens, mostly it does.
func chance(r *rand.Rand) bool { return r.IntN(3) > 0 }

func spotNotice(w *world, m *machine, r *rand.Rand) {
	if m.state != "running" {
		return
	}
	action := pick(r, []string{"terminate", "stop", "hibernate"})
	queue, metadata := chance(r), chance(r)
	if queue || !metadata {
		w.deliverBy(r, spotDocument(w.now, m.id, action), "spot "+action, true)
	}
	if metadata {
		m.metadata.spotAction, m.metadata.spotTime = action, w.now.Add(2*time.Minute)
		if action == "hibernate" {
			m.metadata.spotTime = w.now
		}
		until := m.metadata.spotTime
		w.scheduleRead(m, time.Duration(r.IntN(10))*time.Second)
		w.at(until.Add(time.Hour), "the metadata has no notice any more", func() {
			if m.metadata.spotTime.Equal(until) {
				m.metadata.spotAction = ""
			}
		})
	}
}

func rebalance(w *world, m *machine, r *rand.Rand) {
	if m.state != "running" {
		return
	}
	if chance(r) {
		w.deliverBy(r, rebalanceDocument(w.now, m.id), "rebalance", true)
	}
	if chance(r) {
		m.metadata.rebalance = w.now
		w.scheduleRead(m, time.Duration(r.IntN(20))*time.Second)
	}
}

func reservation(w *world, m *machine, r *rand.Rand) {
	if m.state == "running" {
		w.deliverBy(r, reservationDocument(w.now, m.id), "capacity reservation", true)
	}
}

func scheduleMaintenance(w *world, m *machine, r *rand.Rand) {
	if m.state == "terminated" {
		return
	}
	x := &maintenance{
		m: m, number: len(w.maintenance) + 1, code: pick(r, codes).code, health: chance(r), listed: chance(r), others: r.IntN(3) == 0,
	}
	x.health = x.health || !x.listed
	x.start = w.now.Add(pick(r, []time.Duration{-5 * time.Minute, 10 * time.Minute, time.Hour, 2 * time.Hour, 30 * time.Hour, 72 * time.Hour}))
	if r.IntN(3) > 0 {
		x.end = x.start.Add(pick(r, []time.Duration{time.Hour, 4 * time.Hour}))
	}
	x.touch(w.now)
	w.maintenance = append(w.maintenance, x)
	if x.listed {
		m.metadata.maintenance = append(m.metadata.maintenance, x)
	}
	w.announceMaintenance(r, x, true)
}

// announceMaintenance has all who know of a maintenance say how it stands.
func (w *world) announceMaintenance(r *rand.Rand, x *maintenance, mayLose bool) {
	about := fmt.Sprintf("maintenance %d (%s) at %s, over=%t", x.number, x.code, x.start.Format(time.RFC3339), x.over)
	w.logf("%s, health=%t listed=%t", about, x.health, x.listed)
	if x.health {
		instances := []string{x.m.id}
		if x.others {
			instances = append(instances, unknownInstance)
		}
		w.deliverBy(r, healthDocument(w.now, x, instances), about, mayLose)
	}
	if x.listed {
		w.scheduleRead(x.m, time.Duration(1+r.IntN(40))*time.Second)
	}
}

// open returns one of the maintenances that are not over; nil if there is none.
func (w *world) open(m *machine, r *rand.Rand) *maintenance {
	var open []*maintenance
	for _, x := range w.maintenance {
		if !x.over && x.m == m {
			open = append(open, x)
		}
	}
	if len(open) == 0 {
		return nil
	}
	return pick(r, open)
}

func repeatMaintenance(w *world, m *machine, r *rand.Rand) {
	if x := w.open(m, r); x != nil {
		x.touch(w.now)
		w.announceMaintenance(r, x, true)
	}
}

func moveMaintenance(w *world, m *machine, r *rand.Rand) {
	x := w.open(m, r)
	if x == nil {
		return
	}
	length := x.end.Sub(x.start)
	x.start = w.now.Add(pick(r, []time.Duration{5 * time.Minute, 90 * time.Minute, 26 * time.Hour, 100 * time.Hour}))
	if !x.end.IsZero() {
		x.end = x.start.Add(length)
	}
	x.touch(w.now)
	w.announceMaintenance(r, x, false)
}

func cancelMaintenance(w *world, m *machine, r *rand.Rand) {
	if x := w.open(m, r); x != nil {
		x.over, x.canceled = true, true
		x.touch(w.now)
		w.announceMaintenance(r, x, false)
	}
}

// doMaintenance has AWS do what it has announced.
func doMaintenance(w *world, m *machine, r *rand.Rand) {
	x := w.open(m, r)
	if x == nil || w.now.Before(x.start) || m.state != "running" {
		return
	}
	if x.code == "instance-retirement" || x.code == "instance-stop" {
		stopInstance(w, m, r)
	} else {
		reboot(w, m, r)
	}
	x.over = true
	x.touch(w.now)
	w.announceMaintenance(r, x, false)
}

func terminateInGroup(w *world, m *machine, r *rand.Rand) {
	if m.state != "running" || len(m.waits) > 0 || m.inPool {
		return
	}
	destination := pick(r, []string{"EC2", "EC2", "WarmPool"})
	if w.hooks == 0 {
		w.hooks = 1 + r.IntN(2)
	}
	for i, hook := range hookNames[:w.hooks] {
		wait := &wait{
			hook: hook, token: fmt.Sprintf("87654321-4321-4321-4321-%012x", w.made), destination: destination, since: w.now, lastHeartbeat: w.now,
			timeout: hookTimeouts[i], global: hookGlobal,
		}
		w.made++
		m.waits = append(m.waits, wait)
		w.deliverBy(r, hookDocument(w.now, m.id, wait), "hook "+hook+" to "+destination, i > 0)
	}
	m.metadata.target = map[string]string{"EC2": "Terminated", "WarmPool": "Warmed:Stopped"}[destination]
	w.scheduleRead(m, time.Duration(r.IntN(20))*time.Second)
}

func launchFromPool(w *world, m *machine, r *rand.Rand) {
	if !m.inPool || m.state != "stopped" {
		return
	}
	m.inPool = false
	m.metadata.target = "InService"
	m.start(true, 30*time.Second)
	w.deliverBy(r, stateDocument(w.now, m.id, "running"), "state running", false)
}

func stopInstance(w *world, m *machine, r *rand.Rand) {
	if m.state != "running" {
		return
	}
	w.deliverBy(r, stateDocument(w.now, m.id, "stopping"), "state stopping", true)
	m.state = "stopping"
	w.after(20*time.Second, "the node is not Ready", func() {
		if m.state == "stopped" {
			m.setReady(false)
		}
	})
	stopped := w.now.Add(15 * time.Second)
	body := stateDocument(stopped, m.id, "stopped")
	late := delay(r)
	w.at(stopped, "the instance is stopped", func() {
		if m.state == "stopping" {
			m.state = "stopped"
		}
		w.send(body, "state stopped", late)
	})
	if m.metadata.spotAction != "" {
		m.metadata.spotAction = ""
	}
}

func startInstance(w *world, m *machine, r *rand.Rand) {
	if m.state != "stopped" || m.inPool {
		return
	}
	for _, x := range w.maintenance { // it runs on other hardware now
		if x.m == m && !x.over && r.IntN(2) == 0 {
			x.over = true
			x.touch(w.now)
			w.announceMaintenance(r, x, true)
		}
	}
	m.start(r.IntN(3) > 0, pick(r, []time.Duration{25 * time.Second, time.Minute}))
	w.deliverBy(r, stateDocument(w.now, m.id, "running"), "state running", false)
}
