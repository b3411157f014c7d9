// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodetermination/operator/controllers/awsapi"
)

// unknownToEC2 says why an answer without the instance is none.
const unknownToEC2 = "EC2 does not know the instance in the AWS account and region that was asked: if it is another account's, set the policy's lifecycleHook.roleARN to a role of that account"

// describeInstance returns what EC2 says of the instance, as awsapi.Client.Instance does, and
// takes note in the status that EC2 knows it: only then does it mean something that EC2 does not
// find it later.
func (r *Reconciler) describeInstance(s *scope, maxAge time.Duration) (instance awsapi.Instance, known bool, err error) {
	instance, known, err = r.AWS.Instance(s.account(), s.nt.Spec.InstanceID, maxAge)
	if known && instance.Found && s.nt.Status.InstanceFoundTime == nil {
		s.nt.Status.InstanceFoundTime = &metav1.Time{Time: s.now}
	}
	return instance, known, err
}

// account returns the instance's AWS account and region, as calls about it and its group reach them.
func (s *scope) account() awsapi.Account {
	at := awsapi.Account{Region: s.region()}
	if s.policy != nil {
		at.RoleARN = s.policy.Spec.LifecycleHook.Role()
	}
	return at
}

// mayBeForeign reports whether an answer is about an instance that EC2 does not find and has
// never described: one of another account or region, or one that was launched this moment.
func (s *scope) mayBeForeign(instance awsapi.Instance) bool {
	return !instance.Found && s.nt.Status.InstanceFoundTime == nil
}
