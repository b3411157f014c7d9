// SPDX-License-Identifier: Apache-2.0

package awssim

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	ec2Version   = "2016-11-15"
	ec2Namespace = "http://ec2.amazonaws.com/doc/2016-11-15/"
)

// ec2Service is EC2's instances and their tags.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/Welcome.html
type ec2Service struct {
	service
	server *Server

	mu        sync.Mutex
	instances map[string]Instance
	order     []string // of the instances, as they were first put
}

// Instance is an EC2 instance.
type Instance struct {
	ID string `json:"id"`
	// State: pending, running (default), stopping, stopped, shutting-down or terminated.
	State string            `json:"state,omitempty"`
	Tags  map[string]string `json:"tags,omitempty"`
	// PrivateDNSName. Default: the IP-based name, such as ip-10-0-0-1.ec2.internal or, outside of us-east-1,
	// ip-10-0-0-1.eu-west-1.compute.internal. An instance named by its ID has i-….ec2.internal. One that is terminated
	// has none, nor an address: they are used again.
	PrivateDNSName string `json:"privateDNSName,omitempty"`
	// PrivateIP. Default 10.0.0.1.
	PrivateIP string `json:"privateIP,omitempty"`
	// IPv6 is its IPv6 address. Default: none.
	IPv6 string `json:"ipv6,omitempty"`
	// Zone. Default: the region's zone a.
	Zone string `json:"zone,omitempty"`
	// Type. Default m5.large.
	Type string `json:"type,omitempty"`
	// Spot is the instance's lifecycle.
	Spot bool `json:"spot,omitempty"`
	// Account has the instance, which only its callers see. Default: Account.
	Account string `json:"account,omitempty"`
	// LaunchTime. Default: now.
	LaunchTime time.Time `json:"launchTime,omitzero"`
}

// stateCodes are the numbers that belong to the states.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_InstanceState.html
var stateCodes = map[string]int{
	"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80,
}

var instanceID = regexp.MustCompile(`^i-([0-9a-f]{8}|[0-9a-f]{17})$`)

func newEC2(server *Server) *ec2Service {
	s := &ec2Service{server: server, instances: map[string]Instance{}}
	s.service = service{name: "ec2", encode: ec2Encoder{ec2Namespace}, actions: map[string]handler{
		"DescribeInstances": s.describeInstances,
		"DescribeTags":      s.describeTags,
	}}
	return s
}

// PutInstance creates or replaces an instance. It fails if the ID or the state is not one of EC2's.
func (s *Server) PutInstance(instance Instance) error {
	instance.State = cmp.Or(instance.State, "running")
	instance.PrivateIP = cmp.Or(instance.PrivateIP, "10.0.0.1")
	instance.PrivateDNSName = cmp.Or(instance.PrivateDNSName, "ip-"+strings.ReplaceAll(instance.PrivateIP, ".", "-")+"."+s.privateDomain())
	if instance.State == "terminated" {
		instance.PrivateIP, instance.PrivateDNSName, instance.IPv6 = "", "", ""
	}
	instance.Zone = cmp.Or(instance.Zone, s.opts.Region+"a")
	instance.Type = cmp.Or(instance.Type, "m5.large")
	instance.Account = cmp.Or(instance.Account, Account)
	instance.Tags = maps.Clone(instance.Tags)
	if instance.LaunchTime.IsZero() {
		instance.LaunchTime = s.now()
	}
	if !instanceID.MatchString(instance.ID) {
		return fmt.Errorf("instance ID %q: use i- and 8 or 17 hexadecimal digits", instance.ID)
	}
	if _, ok := stateCodes[instance.State]; !ok {
		return fmt.Errorf("state %q: use one of %s", instance.State, strings.Join(slices.Sorted(maps.Keys(stateCodes)), ", "))
	}
	s.ec2.mu.Lock()
	defer s.ec2.mu.Unlock()
	if _, ok := s.ec2.instances[instance.ID]; !ok {
		s.ec2.order = append(s.ec2.order, instance.ID)
	}
	s.ec2.instances[instance.ID] = instance
	return nil
}

// privateDomain returns the domain of private DNS names.
// https://docs.aws.amazon.com/vpc/latest/userguide/AmazonDNS-concepts.html
func (s *Server) privateDomain() string {
	if s.opts.Region == "us-east-1" {
		return "ec2.internal"
	}
	return s.opts.Region + ".compute.internal"
}

// RemoveInstance forgets the instance, as EC2 does about an hour after its termination.
func (s *Server) RemoveInstance(id string) {
	s.ec2.mu.Lock()
	defer s.ec2.mu.Unlock()
	delete(s.ec2.instances, id)
	s.ec2.order = slices.DeleteFunc(s.ec2.order, func(other string) bool { return other == id })
}

// filter is one of a call's filters: its name and the patterns of which one must match.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_Filter.html
type filter struct {
	name     string
	patterns []string
}

// maxFilterValues is how many filters, and how many values of them, a call takes.
const maxFilterValues = 200

// filters returns the call's filters, or the error of too many.
func (r *request) filters() ([]filter, error) {
	var found []filter
	values := 0
	for i := 1; r.form.Has("Filter." + strconv.Itoa(i) + ".Name"); i++ {
		prefix := "Filter." + strconv.Itoa(i)
		found = append(found, filter{r.form.Get(prefix + ".Name"), r.list(prefix + ".Value")})
		values += len(found[i-1].patterns)
	}
	if max(len(found), values) > maxFilterValues {
		return nil, &apiError{Code: "FilterLimitExceeded", Message: fmt.Sprintf("The maximum number of filters or filter values specified on a single call is %d", maxFilterValues)}
	}
	return found, nil
}

// matches reports whether one of the values, if any, fits one of the patterns with * and ?, which a backslash
// makes ordinary characters. An attribute that the instance lacks is an empty value, which fits nothing.
func (f filter) matches(values ...string) bool {
	values = slices.DeleteFunc(slices.Clone(values), func(value string) bool { return value == "" && f.attribute() })
	for _, pattern := range f.patterns {
		if !strings.ContainsAny(pattern, `*?\`) {
			if slices.Contains(values, pattern) {
				return true
			}
			continue
		}
		quoted := regexp.QuoteMeta(pattern)
		quoted = strings.NewReplacer(`\\\*`, `\*`, `\\\?`, `\?`, `\\\\`, `\\`, `\*`, ".*", `\?`, ".").Replace(quoted)
		if slices.ContainsFunc(values, regexp.MustCompile("^(?s:"+quoted+")$").MatchString) {
			return true
		}
	}
	return false
}

// attribute reports whether the filter is about an instance's own attribute and not its tags.
func (f filter) attribute() bool {
	return !strings.HasPrefix(f.name, "tag") && f.name != "key" && f.name != "value"
}

// matches reports whether the instance fits the filter; known, whether there is such a filter.
func (i Instance) matches(f filter) (matches, known bool) {
	if key, ok := strings.CutPrefix(f.name, "tag:"); ok {
		value, tagged := i.Tags[key]
		return tagged && f.matches(value), true
	}
	switch f.name {
	case "tag-key":
		return f.matches(slices.Collect(maps.Keys(i.Tags))...), true
	case "instance-id":
		return f.matches(i.ID), true
	case "instance-state-name":
		return f.matches(i.State), true
	case "instance-lifecycle":
		return i.Spot && f.matches("spot"), true
	case "private-dns-name":
		return f.matches(i.PrivateDNSName), true
	case "private-ip-address", "network-interface.addresses.private-ip-address":
		return f.matches(i.PrivateIP), true
	case "network-interface.ipv6-addresses.ipv6-address":
		return f.matches(i.IPv6), true
	case "availability-zone":
		return f.matches(i.Zone), true
	}
	return false, false
}

func invalidFilter(f filter) *apiError {
	return invalidParameter("The filter '%s' is invalid", f.name)
}

type tag struct {
	Key   string `xml:"key"`
	Value string `xml:"value"`
}

type instanceItem struct {
	InstanceID     string `xml:"instanceId"`
	StateCode      int    `xml:"instanceState>code"`
	StateName      string `xml:"instanceState>name"`
	PrivateDNSName string `xml:"privateDnsName"`
	PrivateIP      string `xml:"privateIpAddress,omitempty"`
	IPv6           string `xml:"ipv6Address,omitempty"`
	Type           string `xml:"instanceType"`
	LaunchTime     string `xml:"launchTime"`
	Zone           string `xml:"placement>availabilityZone"`
	Lifecycle      string `xml:"instanceLifecycle,omitempty"`
	Tags           []tag  `xml:"tagSet>item"`
	Interfaces     []card `xml:"networkInterfaceSet>item"`
}

// card is a network interface of an instance.
type card struct {
	PrivateIP string   `xml:"privateIpAddress"`
	IPv6      []string `xml:"ipv6AddressesSet>item>ipv6Address"`
}

func (i Instance) item() instanceItem {
	item := instanceItem{
		InstanceID: i.ID, StateCode: stateCodes[i.State], StateName: i.State,
		PrivateDNSName: i.PrivateDNSName, PrivateIP: i.PrivateIP, IPv6: i.IPv6, Type: i.Type, Zone: i.Zone,
		LaunchTime: i.LaunchTime.UTC().Format("2006-01-02T15:04:05.000Z"),
	}
	if i.Spot {
		item.Lifecycle = "spot"
	}
	if i.PrivateIP != "" {
		item.Interfaces = []card{{PrivateIP: i.PrivateIP}}
	}
	if i.IPv6 != "" {
		item.Interfaces[0].IPv6 = []string{i.IPv6}
	}
	for _, key := range slices.Sorted(maps.Keys(i.Tags)) {
		item.Tags = append(item.Tags, tag{key, i.Tags[key]})
	}
	return item
}

type reservation struct {
	ID        string         `xml:"reservationId"`
	Owner     string         `xml:"ownerId"`
	Instances []instanceItem `xml:"instancesSet>item"`
}

// describeInstances implements DescribeInstances.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeInstances.html
func (s *ec2Service) describeInstances(req *request) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids := req.list("InstanceId")
	if len(ids) > 0 && req.form.Has("MaxResults") {
		return nil, &apiError{Code: "InvalidParameterCombination", Message: "The parameter instancesSet cannot be used with the parameter maxResults"}
	}
	if err := s.checkIDs(ids); err != nil {
		return nil, err
	}
	filters, err := req.filters()
	if err != nil {
		return nil, err
	}
	if _, err := (Instance{}).fits(filters); err != nil {
		return nil, err
	}
	var found []reservation
	for _, id := range s.order {
		instance := s.instances[id]
		if instance.Account != req.account || len(ids) > 0 && !slices.Contains(ids, id) {
			continue
		}
		if fits, _ := instance.fits(filters); fits { // the filters were checked above
			found = append(found, reservation{ID: "r-" + id[2:], Owner: instance.Account, Instances: []instanceItem{instance.item()}})
		}
	}
	found, next, err := page(found, req.form.Get("MaxResults"), 1000, req.form.Get("NextToken"))
	return struct {
		RequestID    string        `xml:"requestId"`
		Reservations []reservation `xml:"reservationSet>item"`
		NextToken    string        `xml:"nextToken,omitempty"`
	}{newUUID(), found, next}, err
}

// fits reports whether the instance fits all filters. Its error is a filter that there is not.
func (i Instance) fits(filters []filter) (bool, error) {
	fits := true
	for _, f := range filters {
		matches, known := i.matches(f)
		if !known {
			return false, invalidFilter(f)
		}
		fits = fits && matches
	}
	return fits, nil
}

func (s *ec2Service) checkIDs(ids []string) error {
	var missing []string
	for _, id := range ids {
		if !instanceID.MatchString(id) {
			return &apiError{Code: "InvalidInstanceID.Malformed", Message: fmt.Sprintf("Invalid id: %q", id)}
		}
		if _, ok := s.instances[id]; !ok {
			missing = append(missing, id)
		}
	}
	switch len(missing) {
	case 0:
		return nil
	case 1:
		return &apiError{Code: "InvalidInstanceID.NotFound", Message: fmt.Sprintf("The instance ID '%s' does not exist", missing[0])}
	}
	return &apiError{Code: "InvalidInstanceID.NotFound", Message: fmt.Sprintf("The instance IDs '%s' do not exist", strings.Join(missing, ", "))}
}

type tagItem struct {
	ResourceID   string `xml:"resourceId"`
	ResourceType string `xml:"resourceType"`
	tag
}

// describeTags implements DescribeTags.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeTags.html
func (s *ec2Service) describeTags(req *request) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	filters, err := req.filters()
	if err != nil {
		return nil, err
	}
	if _, err := (tagItem{}).fits(filters); err != nil {
		return nil, err
	}
	var found []tagItem
	for _, id := range s.order {
		for _, t := range s.instances[id].item().Tags {
			item := tagItem{id, "instance", t}
			if fits, _ := item.fits(filters); fits { // the filters were checked above
				found = append(found, item)
			}
		}
	}
	found, next, err := page(found, req.form.Get("MaxResults"), 1000, req.form.Get("NextToken"))
	return struct {
		RequestID string    `xml:"requestId"`
		Tags      []tagItem `xml:"tagSet>item"`
		NextToken string    `xml:"nextToken,omitempty"`
	}{newUUID(), found, next}, err
}

func (t tagItem) fits(filters []filter) (bool, error) {
	fits := true
	for _, f := range filters {
		value, known := map[string]string{
			"key": t.Key, "value": t.Value, "resource-id": t.ResourceID, "resource-type": t.ResourceType,
		}[f.name]
		if !known {
			return false, invalidFilter(f)
		}
		fits = fits && f.matches(value)
	}
	return fits, nil
}

// page returns the part of all that begins at the token, at most limit long, and the token of the next part.
func page[T any](all []T, limit string, otherwise int, token string) (part []T, next string, err error) {
	size := otherwise
	if limit != "" {
		if size, err = strconv.Atoi(limit); err != nil || size < 1 || size > 1000 {
			return nil, "", invalidParameter("Value ( %s ) for the page size is invalid: use 1 to 1000.", limit)
		}
	}
	from := 0
	if token != "" {
		text, err := base64.StdEncoding.DecodeString(token)
		if err == nil {
			from, err = strconv.Atoi(string(text))
		}
		if err != nil || from < 0 || from > len(all) {
			return nil, "", &apiError{Code: "InvalidNextToken", Message: "The token '" + shorten(token) + "' is invalid."}
		}
	}
	to := min(from+size, len(all))
	if to < len(all) {
		next = base64.StdEncoding.EncodeToString([]byte(strconv.Itoa(to)))
	}
	return all[from:to], next, nil
}
