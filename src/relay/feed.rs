//! A source that has several connections, its *legs*: a feed.
//!
//! A leg is a `Source` like any other, with a connection, a state and a
//! backoff of its own. What is here says which legs are wanted at a moment, from how they stand
//! alone (`wanted`); `legs` does what follows from it, and `dedup` knows copies of a message.
//!
//! A source of several urls has a leg for each of them, one with a `max_age` has two for each: they
//! take turns. The next connection is dialled when the old one has reached its age, and the old one
//! is let go when both have *overlapped*: the new one has brought a message that another has
//! brought, too, so it has everything from there on. Nothing is lost then, whatever is still under
//! way on the old one. A feed that is too quiet for that is waited for no longer than [`OVERLAP`].

use std::cmp::Reverse;
use std::time::{Duration, Instant};

use super::STABLE_AFTER;
use super::dedup::{Dedup, Legs, MAX_LEGS, Print};
use super::settings::{DedupRule, Leg as LegSettings, SourceId, Strategy};
use super::source::Held;

/// A new connection that has brought no message in common with another is trusted after so long.
pub const OVERLAP: Duration = Duration::from_secs(10);
/// One that has is trusted after so long: of several subscriptions, not all may be served at once.
pub const MIN_OVERLAP: Duration = Duration::from_secs(1);
/// A new connection that is ahead of the others waits for them so long at most: its messages come
/// after theirs.
pub const JOIN_WAIT: Duration = Duration::from_secs(1);

/// The place of a leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Among all feeds.
    pub(super) feed: usize,
    /// Among the legs of the feed.
    pub(super) leg: usize,
}

/// Several connections that are one source.
#[derive(Debug)]
pub(super) struct Feed {
    pub(super) name: String,
    pub(super) strategy: Strategy,
    pub(super) rule: DedupRule,
    pub(super) dedup: Dedup,
    /// By rank; the first stands for the feed.
    pub(super) legs: Vec<Leg>,
    /// Whether a leg serves.
    pub(super) is_up: bool,
    /// Since when none does, if one ever did.
    pub(super) down_since: Option<Instant>,
    /// When how the legs stand changes by itself.
    pub(super) look_at: Option<Instant>,
    /// Copies are remembered until then, also when one leg alone is left.
    pub(super) noting_until: Option<Instant>,
    /// How long legs were not read, all in all, and up to when that was counted.
    paused: Duration,
    paused_until: Option<Instant>,
    /// How the legs stand, kept for its storage.
    views: Vec<View>,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Leg {
    pub(super) source: SourceId,
    pub(super) rank: usize,
    /// Since when it serves.
    pub(super) ready_since: Option<Instant>,
    /// Since when it serves and is read.
    pub(super) read_since: Option<Instant>,
    /// What it has in common with those that served before it.
    company: Company,
    /// It has reached its `max_age`.
    pub(super) is_aged: bool,
    /// It was lost, or not reached, since it served the last time.
    pub(super) has_failed: bool,
    /// It was let go while it waited for that.
    pub(super) not_before: Option<Instant>,
    /// A message that it is ahead with, and until when that waits for the others. The leg is not read
    /// meanwhile.
    pub(super) early: Option<Early>,
    /// Messages that it was the first to bring.
    pub(super) won_messages: u64,
    /// Messages that another leg had brought already.
    pub(super) duplicate_messages: u64,
}

/// What a leg has in common with others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Company {
    /// Nothing that matters.
    None,
    /// Nothing yet: what it is ahead with waits while another serves.
    Wanted,
    /// A message that it has brought since it serves, and another has brought, too.
    Found,
}

/// A message of a leg that is ahead of the others.
#[derive(Debug)]
pub(super) struct Early {
    pub(super) print: Print,
    pub(super) held: Held,
    pub(super) until: Instant,
}

/// How a leg stands, as far as it matters to whether it is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct View {
    pub(super) rank: usize,
    pub(super) standing: Standing,
    /// It has failed since it served the last time.
    pub(super) has_failed: bool,
    /// Since when it serves.
    pub(super) ready_since: Option<Instant>,
    /// It serves, and has everything that another leg of its url has.
    pub(super) has_overlapped: bool,
    /// It has served for so long that later urls are not needed.
    pub(super) is_stable: bool,
}

/// How far a leg is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is not dialled.
    Idle,
    /// It is dialled, or being opened.
    Trying,
    /// It is dialled again at this moment.
    Failed(Instant),
    /// It serves.
    Ready,
    /// It serves until another takes its place.
    Aged,
    /// It does not come back.
    Over,
}

impl Feed {
    /// A feed that nothing is known of yet.
    pub(super) fn new(settings: &LegSettings) -> Self {
        Self {
            name: settings.feed.clone(),
            strategy: settings.strategy,
            rule: settings.dedup.clone(),
            dedup: Dedup::new(),
            legs: Vec::new(),
            is_up: false,
            down_since: None,
            look_at: None,
            noting_until: None,
            paused: Duration::ZERO,
            paused_until: None,
            views: Vec::new(),
        }
    }

    /// Learns that a leg that was not read is read again.
    pub(super) fn put_off(&mut self, since: Instant, now: Instant) {
        // Several legs are not read at the same time, most often.
        let since = self.paused_until.map_or(since, |until| until.max(since));
        self.paused += now.saturating_duration_since(since);
        self.paused_until = Some(now);
    }

    /// The time without that in which legs were not read.
    pub(super) fn clock(&self, now: Instant) -> Instant {
        now.checked_sub(self.paused).unwrap_or(now)
    }

    /// The legs that are wanted. `standing` says how far each is.
    pub(super) fn wanted(&mut self, standing: impl Fn(&Leg) -> Standing, now: Instant) -> Legs {
        let mut views = std::mem::take(&mut self.views);
        views.clear();
        views.extend(self.legs.iter().map(|leg| leg.view(standing(leg), now)));
        let wanted = wanted(self.strategy, &views);
        let in_play = views.iter().filter(|view| view.is_in_play()).count();
        self.views = views;
        let moments = self.legs.iter().flat_map(Leg::moments);
        self.look_at = moments.filter(|at| *at > now && in_play > 1).min();
        wanted
    }

    /// The legs that are wanted before any has been dialled.
    pub(super) fn wanted_at_first(&self) -> Legs {
        let idle = |leg: &Leg| View {
            rank: leg.rank,
            standing: Standing::Idle,
            has_failed: false,
            ready_since: None,
            has_overlapped: false,
            is_stable: false,
        };
        wanted(self.strategy, &self.legs.iter().map(idle).collect::<Vec<_>>())
    }

    /// Takes over what is known of the feed from before its legs have changed.
    pub(super) fn succeed(&mut self, old: Self) {
        let before = |leg: &Leg| old.legs.iter().position(|other| other.source == leg.source);
        let before: Vec<_> = self.legs.iter().map(before).collect();
        self.dedup = old.dedup;
        if self.rule.key == old.rule.key {
            self.dedup.rearrange(&before);
        } else {
            self.dedup.clear();
        }
        (self.is_up, self.down_since) = (old.is_up, old.down_since);
        (self.paused, self.paused_until) = (old.paused, old.paused_until);
        self.noting_until = old.noting_until;
        let mut legs: Vec<_> = old.legs.into_iter().map(Some).collect();
        for (leg, before) in self.legs.iter_mut().zip(before) {
            if let Some(known) = before.and_then(|before| legs[before].take()) {
                *leg = Leg { rank: leg.rank, ..known };
            }
        }
    }

    /// Learns that a leg is connected. While it has not subscribed to everything another may begin to
    /// serve, which it is ahead of.
    pub(super) fn open(&mut self, leg: usize) {
        self.legs[leg].company = Company::Wanted;
    }

    /// Learns that a leg serves. What all legs of its url have failed at before is forgotten.
    pub(super) fn serve(&mut self, leg: usize, now: Instant) {
        if self.legs[leg].ready_since.is_some() {
            return;
        }
        let (has_other, rank) = (self.has_other(leg), self.legs[leg].rank);
        for other in self.legs.iter_mut().filter(|other| other.rank == rank) {
            other.has_failed = false;
        }
        let leg = &mut self.legs[leg];
        (leg.ready_since, leg.read_since) = (Some(now), Some(now));
        // What it had in common before it had subscribed to everything says too little.
        leg.company = if has_other { Company::Wanted } else { Company::None };
    }

    /// Takes note of a copy that a leg has brought.
    pub(super) fn note_copy(&mut self, leg: usize, print: Print) {
        let legs = self.dedup.note_copy(leg, print);
        self.legs[leg].duplicate_messages += 1;
        self.overlapped(legs);
    }

    /// Takes note of a message that a leg was the first to bring.
    pub(super) fn note_new(&mut self, leg: usize, print: Print, now: Instant) {
        let clock = self.clock(now);
        self.dedup.note_new(leg, print, self.rule.window, clock);
        self.legs[leg].won_messages += 1;
        // Another may have waited for this.
        let waits = |other: &Leg| other.early.as_ref().is_some_and(|early| early.print == print);
        let mut legs = Legs::default();
        for other in (0..self.legs.len()).filter(|other| waits(&self.legs[*other])) {
            legs.add(other);
            legs.add(leg);
        }
        self.overlapped(legs);
    }

    /// Takes the message of a leg that has waited long enough, or that another has brought.
    pub(super) fn take_early(&mut self, leg: usize, now: Instant) -> Option<Early> {
        let is_alone = !self.has_other(leg);
        let is_copy = |early: &Early| self.dedup.is_copy(leg, early.print);
        let has_come = self.legs[leg].early.as_ref().is_some_and(is_copy);
        let leg = &mut self.legs[leg];
        let is_due = leg.early.as_ref().is_some_and(|early| early.until <= now);
        let serves_alone = is_alone && leg.ready_since.is_some();
        if leg.company == Company::Wanted && (is_due || serves_alone) {
            leg.company = Company::None;
        }
        leg.early.take_if(|_| has_come || is_alone || leg.company != Company::Wanted)
    }

    /// Whether a message of a leg that no other has brought waits for the others.
    pub(super) fn is_early(&self, leg: usize) -> bool {
        self.legs[leg].company == Company::Wanted && self.has_other(leg)
    }

    /// The leg that clients' messages go to: of those that are ready, the one of the first url, and
    /// of two of one url the newer one.
    pub(super) fn speaker(&self) -> Option<usize> {
        let ready = (0..self.legs.len()).filter(|leg| self.legs[*leg].ready_since.is_some());
        ready.min_by_key(|leg| {
            let Leg { rank, is_aged, ready_since, .. } = self.legs[*leg];
            (rank, is_aged, Reverse(ready_since))
        })
    }

    /// Whether another leg than this serves.
    pub(super) fn has_other(&self, leg: usize) -> bool {
        let is_other = |(n, other): (usize, &Leg)| n != leg && other.ready_since.is_some();
        self.legs.iter().enumerate().any(is_other)
    }

    /// Learns that these legs have brought the same message.
    fn overlapped(&mut self, legs: Legs) {
        let serving = |(n, leg): &(usize, &mut Leg)| legs.has(*n) && leg.ready_since.is_some();
        for (_, leg) in self.legs.iter_mut().enumerate().filter(serving) {
            leg.company = Company::Found;
        }
    }
}

impl Leg {
    pub(super) fn new(source: SourceId, rank: usize) -> Self {
        Self {
            source,
            rank,
            ready_since: None,
            read_since: None,
            company: Company::None,
            is_aged: false,
            has_failed: false,
            not_before: None,
            early: None,
            won_messages: 0,
            duplicate_messages: 0,
        }
    }

    /// Learns that its connection is no longer of use.
    pub(super) fn end(&mut self) {
        self.ready_since = None;
        self.read_since = None;
        self.company = Company::None;
        self.is_aged = false;
    }

    fn view(&self, standing: Standing, now: Instant) -> View {
        let read = self.read_since.map(|since| now.saturating_duration_since(since));
        let has_read = |time: Duration| read.is_some_and(|read| read >= time);
        let has_company = self.company == Company::Found;
        View {
            rank: self.rank,
            standing,
            has_failed: self.has_failed,
            ready_since: self.ready_since,
            has_overlapped: has_read(if has_company { MIN_OVERLAP } else { OVERLAP }),
            is_stable: has_read(STABLE_AFTER),
        }
    }

    /// When its view changes by itself.
    fn moments(&self) -> impl Iterator<Item = Instant> + use<> {
        let since = self.read_since;
        let of_reading = [MIN_OVERLAP, OVERLAP, STABLE_AFTER].into_iter();
        let of_reading = of_reading.filter_map(move |time| Some(since? + time));
        of_reading.chain(self.early.as_ref().map(|early| early.until))
    }
}

impl View {
    fn is_in_play(&self) -> bool {
        self.is_ready() || self.standing == Standing::Trying
    }

    fn is_ready(&self) -> bool {
        matches!(self.standing, Standing::Ready | Standing::Aged)
    }

    /// Whether its url cannot be counted on.
    fn is_down(&self) -> bool {
        match self.standing {
            Standing::Failed(_) | Standing::Over => true,
            Standing::Trying | Standing::Idle => self.has_failed,
            Standing::Ready | Standing::Aged => false,
        }
    }

    /// The smaller, the rather it is the one of its url that is wanted.
    fn preference(&self) -> (u8, Option<Instant>, Reverse<Option<Instant>>) {
        let (place, until) = match self.standing {
            Standing::Ready => (0, None),
            Standing::Aged => (1, None),
            Standing::Trying => (2, None),
            Standing::Failed(until) => (3, Some(until)),
            // Two of one url are one attempt: if one has given up, so has the other.
            Standing::Over => (4, None),
            Standing::Idle => (5, None),
        };
        (place, until, Reverse(self.ready_since))
    }
}

/// The legs that are wanted.
///
/// In a race every url is. Otherwise the first is, and each further one from when all before it have
/// failed until one of these is stable. Of the two legs of a url one is; both are while one takes
/// the other's place.
pub(super) fn wanted(strategy: Strategy, views: &[View]) -> Legs {
    let mut legs = Legs::default();
    for rank in 0..MAX_LEGS {
        let is_wanted = match strategy {
            Strategy::Race => true,
            Strategy::Failover => is_needed(rank, views),
        };
        if is_wanted {
            take_turns(rank, views, &mut legs);
        }
    }
    legs
}

/// Whether a url is needed beside those before it.
fn is_needed(rank: usize, views: &[View]) -> bool {
    let serves = |rank| of(rank, views).any(|(_, view)| view.is_ready());
    let is_down = |rank| !serves(rank) && of(rank, views).any(|(_, view)| view.is_down());
    let is_stable = |rank| of(rank, views).any(|(_, view)| view.is_stable);
    if (0..rank).any(is_stable) {
        false
    } else if (0..rank).any(serves) {
        // It serves until the other has proved stable, and is not dialled for less.
        serves(rank)
    } else {
        (0..rank).all(is_down)
    }
}

/// Which of the legs of one url are wanted, if it is.
fn take_turns(rank: usize, views: &[View], legs: &mut Legs) {
    let Some((main, view)) = of(rank, views).min_by_key(|(_, view)| view.preference()) else {
        return;
    };
    legs.add(main);
    for (place, other) in of(rank, views).filter(|(other, _)| *other != main) {
        let is_wanted = match other.standing {
            // The connection before this one.
            Standing::Ready | Standing::Aged => !view.has_overlapped,
            Standing::Idle | Standing::Trying | Standing::Failed(_) => {
                view.standing == Standing::Aged
            }
            Standing::Over => false,
        };
        if is_wanted {
            legs.add(place);
        }
    }
}

fn of(rank: usize, views: &[View]) -> impl Iterator<Item = (usize, &View)> {
    views.iter().enumerate().filter(move |(_, view)| view.rank == rank)
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: View = View {
        rank: 0,
        standing: Standing::Idle,
        has_failed: false,
        ready_since: None,
        has_overlapped: false,
        is_stable: false,
    };
    const TRYING: View = View { standing: Standing::Trying, ..IDLE };
    const READY: View = View { standing: Standing::Ready, ..IDLE };
    const STABLE: View = View { is_stable: true, has_overlapped: true, ..READY };
    const AGED: View = View { standing: Standing::Aged, ..STABLE };
    const OVER: View = View { standing: Standing::Over, ..IDLE };

    #[expect(clippy::disallowed_methods, reason = "an instant to count from")]
    fn failed() -> View {
        View { standing: Standing::Failed(Instant::now()), has_failed: true, ..IDLE }
    }

    /// The legs that are wanted, one for each url.
    fn of_urls(strategy: Strategy, views: &[View]) -> Vec<bool> {
        let ranked = (0..).zip(views).map(|(rank, view)| View { rank, ..*view });
        listed(wanted(strategy, &ranked.collect::<Vec<_>>()), views.len())
    }

    fn failover(views: &[View]) -> Vec<bool> {
        of_urls(Strategy::Failover, views)
    }

    /// The legs of one url that are wanted.
    fn turns(views: &[View]) -> Vec<bool> {
        listed(wanted(Strategy::Failover, views), views.len())
    }

    fn listed(legs: Legs, count: usize) -> Vec<bool> {
        (0..count).map(|leg| legs.has(leg)).collect()
    }

    #[test]
    fn race_wants_all_whatever_becomes_of_them() {
        let views = [IDLE, TRYING, failed(), READY, STABLE, OVER];
        assert_eq!(of_urls(Strategy::Race, &views), [true; 6]);
    }

    #[test]
    fn later_url_is_dialled_when_all_before_it_have_failed() {
        assert_eq!(failover(&[IDLE; 3]), [true, false, false]);
        assert_eq!(failover(&[TRYING, IDLE, IDLE]), [true, false, false]);
        assert_eq!(failover(&[failed(), IDLE, IDLE]), [true, true, false]);
        let again = View { has_failed: true, ..TRYING };
        assert_eq!(failover(&[again, TRYING, IDLE]), [true, true, false]);
        assert_eq!(failover(&[again, again, IDLE]), [true; 3]);
        assert_eq!(failover(&[OVER, failed(), TRYING]), [true; 3]);
    }

    #[test]
    fn later_url_serves_until_an_earlier_one_is_stable() {
        assert_eq!(failover(&[failed(), READY, IDLE]), [true, true, false]);
        assert_eq!(failover(&[READY, STABLE, IDLE]), [true, true, false]);
        assert_eq!(failover(&[STABLE, STABLE, IDLE]), [true, false, false]);
        assert_eq!(failover(&[failed(), STABLE, STABLE]), [true, true, false]);
    }

    #[test]
    fn later_url_that_does_not_serve_is_not_needed_once_an_earlier_one_does() {
        assert_eq!(failover(&[READY, TRYING, failed()]), [true, false, false]);
    }

    #[test]
    fn one_leg_of_a_url_is_wanted_at_a_time() {
        assert_eq!(turns(&[IDLE, IDLE]), [true, false]);
        assert_eq!(turns(&[failed(), IDLE]), [true, false]);
        assert_eq!(turns(&[IDLE, STABLE]), [false, true]);
    }

    #[test]
    fn successor_is_dialled_at_the_age_and_takes_over_after_an_overlap() {
        assert_eq!(turns(&[AGED, IDLE]), [true, true]);
        assert_eq!(turns(&[AGED, TRYING]), [true, true]);
        assert_eq!(turns(&[AGED, failed()]), [true, true]);
        assert_eq!(turns(&[AGED, READY]), [true, true]);
        assert_eq!(turns(&[AGED, View { has_overlapped: true, ..READY }]), [false, true]);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "an instant to count from")]
    fn successor_that_has_aged_meanwhile_takes_over_first() {
        let old = View { ready_since: Some(Instant::now()), ..AGED };
        let new = View { ready_since: Some(Instant::now() + OVERLAP), ..AGED };
        assert_eq!(turns(&[old, new]), [false, true]);
        assert_eq!(turns(&[IDLE, new]), [true, true]);
    }

    #[test]
    fn successor_stays_when_the_old_connection_is_cut() {
        assert_eq!(turns(&[failed(), TRYING]), [false, true]);
        assert_eq!(turns(&[failed(), READY]), [false, true]);
        let (soon, late) = (failed(), failed());
        assert_eq!(turns(&[late, soon]), [false, true]);
        assert_eq!(turns(&[soon, late]), [true, false]);
    }

    #[test]
    fn url_whose_leg_has_given_up_is_tried_by_no_other() {
        assert_eq!(turns(&[OVER, IDLE]), [true, false]);
        assert_eq!(turns(&[AGED, OVER]), [true, false]);
    }

    #[test]
    fn both_legs_of_a_later_url_go_when_the_first_is_stable() {
        let at = |rank, view: View| View { rank, ..view };
        let views = [at(0, STABLE), at(0, IDLE), at(1, AGED), at(1, READY)];
        assert_eq!(turns(&views), [true, false, false, false]);
    }
}
