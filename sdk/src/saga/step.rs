use std::marker::PhantomData;

use outrigger_proto::v1::{SagaNothingToUndo, SagaStep, saga_step::UndoOrNothing};

use super::{Builder, Endpoint, Value};

/// Builds one step of a saga: its action takes a `T` and gives back an `O`.
#[derive(Debug)]
#[must_use = "add it"]
pub struct StepBuilder<'a, I, T, O> {
    saga: &'a mut Builder<I>,
    step: SagaStep,
    of: PhantomData<fn(T) -> O>,
}

/// A step that was added, for those that come after it.
#[derive(Debug)]
pub struct StepRef<O> {
    name: String,
    of: PhantomData<fn() -> O>,
}

impl<O> StepRef<O> {
    /// What its action gives back.
    #[must_use]
    pub fn output(&self) -> Value<O> {
        Value::output(&self.name)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl<'a, I, T, O> StepBuilder<'a, I, T, O> {
    pub(super) fn new(
        saga: &'a mut Builder<I>,
        name: String,
        action: Endpoint<T, O>,
        input: &Value<T>,
    ) -> Self {
        let mut call = action.call;
        call.input = input.mapping.to_string();
        let step = SagaStep {
            name,
            depends_on: input.steps.iter().cloned().collect(),
            action: Some(call),
            ..SagaStep::default()
        };
        let of = PhantomData;
        Self { saga, step, of }
    }

    /// What its own action gives back, for its undo; with a default, because an action whose
    /// outcome is unknown is undone too.
    #[must_use]
    pub fn own_output(&self) -> Value<O> {
        let output = Value::<O>::output(&self.step.name);
        Value::new(output.mapping, Default::default())
    }

    /// Comes after this step, although it does not use its output.
    pub fn after<P>(mut self, other: &StepRef<P>) -> Self {
        self.depend_on([&other.name]);
        self
    }

    /// How it is undone, in TCC cancelled: by calling this with what the action got.
    pub fn undo(mut self, undo: Endpoint<T, ()>) -> Self {
        self.step.undo_or_nothing = Some(UndoOrNothing::Undo(undo.call));
        self
    }

    /// How it is undone, in TCC cancelled: by calling this with something else.
    pub fn undo_with<V>(mut self, undo: Endpoint<V, ()>, input: &Value<V>) -> Self {
        let mut call = undo.call;
        call.input = input.mapping.to_string();
        self.depend_on(&input.steps);
        self.step.undo_or_nothing = Some(UndoOrNothing::Undo(call));
        self
    }

    /// There is nothing to undo, such as after asking a question.
    pub fn nothing_to_undo(mut self) -> Self {
        let nothing = UndoOrNothing::NothingToUndo(SagaNothingToUndo {});
        self.step.undo_or_nothing = Some(nothing);
        self
    }

    /// TCC: how it is confirmed, by calling this with what the try got.
    pub fn confirm<U>(mut self, confirm: Endpoint<T, U>) -> Self {
        self.step.confirm = Some(confirm.call);
        self
    }

    /// The point of no return: when this step has succeeded nothing is undone any more, and
    /// everything after it is repeated until it succeeds.
    pub fn pivot(mut self) -> Self {
        self.step.pivot = true;
        self
    }

    /// Adds the step to the saga.
    pub fn add(self) -> StepRef<O> {
        let name = self.step.name.clone();
        self.saga.definition.steps.push(self.step);
        let of = PhantomData;
        StepRef { name, of }
    }

    fn depend_on<'n>(&mut self, names: impl IntoIterator<Item = &'n String>) {
        for name in names {
            if !self.step.depends_on.contains(name) {
                self.step.depends_on.push(name.clone());
            }
        }
    }
}
