// SPDX-License-Identifier: Apache-2.0

package awssim

import (
	"maps"
	"slices"
)

type hookResult struct {
	AutoScalingGroupName string
	LifecycleHookName    string
	LifecycleTransition  string
	HeartbeatTimeout     int
	GlobalTimeout        int
	DefaultResult        string
}

func (s *autoScaling) describeLifecycleHooks(req *request) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := req.form.Get("AutoScalingGroupName")
	g, err := s.visible(req, name)
	if err != nil {
		return nil, err
	}
	asked := req.list("LifecycleHookNames.member")
	var out struct {
		Hooks []hookResult `xml:"LifecycleHooks>member"`
	}
	for _, hookName := range slices.Sorted(maps.Keys(g.hooks)) {
		hook := g.hooks[hookName]
		if len(asked) == 0 || slices.Contains(asked, hookName) {
			out.Hooks = append(out.Hooks, hookResult{
				AutoScalingGroupName: name, LifecycleHookName: hookName, LifecycleTransition: hook.transition(),
				HeartbeatTimeout: int(hook.HeartbeatTimeout.Seconds()), GlobalTimeout: int(hook.globalTimeout().Seconds()),
				DefaultResult: hook.DefaultResult,
			})
		}
	}
	return out, nil
}

type groupInstance struct {
	InstanceID       string `xml:"InstanceId"`
	Group            string `xml:"AutoScalingGroupName,omitempty"`
	AvailabilityZone string
	LifecycleState   string
	HealthStatus     string
	Protected        bool `xml:"ProtectedFromScaleIn"`
}

// instances returns those of the group with the name, by ID.
func (s *autoScaling) instances(name string) []groupInstance {
	g := s.groups[name]
	found := make([]groupInstance, 0, len(g.instances))
	for _, id := range slices.Sorted(maps.Keys(g.instances)) {
		found = append(found, groupInstance{
			InstanceID: id, AvailabilityZone: s.server.opts.Region + "a", LifecycleState: g.instances[id], HealthStatus: "Healthy",
		})
	}
	return found
}

func (s *autoScaling) describeInstances(req *request) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settle(s.server.now())
	asked := req.list("InstanceIds.member")
	var found []groupInstance
	for _, name := range slices.Sorted(maps.Keys(s.groups)) {
		if s.groups[name].account != req.account {
			continue
		}
		for _, instance := range s.instances(name) {
			if len(asked) == 0 || slices.Contains(asked, instance.InstanceID) {
				instance.Group = name
				found = append(found, instance)
			}
		}
	}
	found, next, err := page(found, req.form.Get("MaxRecords"), 50, req.form.Get("NextToken"))
	return struct {
		Instances []groupInstance `xml:"AutoScalingInstances>member"`
		NextToken string          `xml:",omitempty"`
	}{found, next}, err
}

type groupResult struct {
	Name            string `xml:"AutoScalingGroupName"`
	ARN             string `xml:"AutoScalingGroupARN"`
	MinSize         int
	MaxSize         int
	DesiredCapacity int
	Instances       []groupInstance `xml:"Instances>member"`
}

func (s *autoScaling) describeGroups(req *request) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settle(s.server.now())
	asked := req.list("AutoScalingGroupNames.member")
	var found []groupResult
	for _, name := range slices.Sorted(maps.Keys(s.groups)) {
		if s.groups[name].account == req.account && (len(asked) == 0 || slices.Contains(asked, name)) {
			instances := s.instances(name)
			found = append(found, groupResult{
				Name: name, ARN: Notice{Region: s.server.opts.Region, Group: name}.groupARN(),
				MaxSize: len(instances), DesiredCapacity: len(instances), Instances: instances,
			})
		}
	}
	found, next, err := page(found, req.form.Get("MaxRecords"), 50, req.form.Get("NextToken"))
	return struct {
		Groups    []groupResult `xml:"AutoScalingGroups>member"`
		NextToken string        `xml:",omitempty"`
	}{found, next}, err
}
