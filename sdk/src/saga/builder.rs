use std::{marker::PhantomData, time::Duration};

use outrigger_proto::v1::{
    SagaDefinition, SagaDelivery, SagaMessageTarget, SagaMode, SagaWebhook, saga_delivery,
};

use super::{DefinitionError, Endpoint, StepBuilder, Value, check, endpoint::millis};

/// Begins the definition of a saga that takes an `I`: actions, and an undo for each.
pub fn define<I>(name: impl Into<String>) -> Builder<I> {
    Builder::new(name.into(), SagaMode::Saga)
}

/// Begins the definition of a saga in TCC: every step is tried, then all are confirmed or all
/// are cancelled.
pub fn define_tcc<I>(name: impl Into<String>) -> Builder<I> {
    Builder::new(name.into(), SagaMode::Tcc)
}

/// Builds the definition of a saga that takes an `I`.
#[derive(Debug)]
#[must_use = "build it"]
pub struct Builder<I> {
    pub(super) definition: SagaDefinition,
    of: PhantomData<fn(I)>,
}

impl<I> Builder<I> {
    fn new(name: String, mode: SagaMode) -> Self {
        let definition = SagaDefinition {
            name,
            mode: mode.into(),
            ..SagaDefinition::default()
        };
        Self {
            definition,
            of: PhantomData,
        }
    }

    /// The input of the saga.
    #[must_use]
    pub fn input(&self) -> Value<I> {
        Value::input()
    }

    /// Begins a step: its action, in TCC its try, and what that is called with. The step comes
    /// after those whose outputs are in the input.
    pub fn step<T, O>(
        &mut self,
        name: impl Into<String>,
        action: Endpoint<T, O>,
        input: &Value<T>,
    ) -> StepBuilder<'_, I, T, O> {
        StepBuilder::new(self, name.into(), action, input)
    }

    /// How long the whole may take, from its start, before it is undone; at most 365 days.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.definition.deadline_ms = millis(deadline);
        self
    }

    /// What a completed saga gives back. Otherwise it is an object with the output of every
    /// step under its name.
    pub fn output<O>(mut self, output: &Value<O>) -> Self {
        self.definition.output = output.mapping.to_string();
        self
    }

    /// Posts the result to this address when the saga has ended.
    pub fn deliver_to_webhook(mut self, url: impl Into<String>) -> Self {
        let to = saga_delivery::To::Webhook(SagaWebhook { url: url.into() });
        self.definition
            .deliveries
            .push(SagaDelivery { to: Some(to) });
        self
    }

    /// Sends the result to this topic when the saga has ended.
    pub fn deliver_to_topic(mut self, topic: impl Into<String>) -> Self {
        let to = saga_delivery::To::Message(SagaMessageTarget {
            topic: topic.into(),
            tag: String::new(),
        });
        self.definition
            .deliveries
            .push(SagaDelivery { to: Some(to) });
        self
    }

    /// Largest input of the saga, input of a step, and output of a step; default 1 MiB, at
    /// most 4 MiB.
    pub fn payload_bytes_max(mut self, bytes: u32) -> Self {
        self.definition.payload_bytes_max = bytes;
        self
    }

    /// Checks the definition, as far as that needs nothing but the definition.
    ///
    /// # Errors
    /// The first fault found, in the words of the sidecar; it names the step and the field.
    pub fn build(self) -> Result<SagaDefinition, DefinitionError> {
        check(&self.definition)?;
        Ok(self.definition)
    }
}
